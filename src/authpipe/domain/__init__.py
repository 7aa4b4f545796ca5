"""The words of the field as frozen types. Standard library only; every other room may import this one."""

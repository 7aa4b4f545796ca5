"""The pages people see: rendered here, without a script they would need."""

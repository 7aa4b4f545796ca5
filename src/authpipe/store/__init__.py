"""All SQL: one repository per aggregate, the migrations, and the bundled PostgreSQL."""

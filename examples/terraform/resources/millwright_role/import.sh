# By name, or as CONTEXT/NAME for an object of another instance than the provider's own.
terraform import millwright_role.operators operators

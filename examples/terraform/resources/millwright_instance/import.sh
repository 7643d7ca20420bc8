# By name, or as DOCKER_HOST/NAME for an instance on another engine than the provider's.
terraform import millwright_instance.plant plant

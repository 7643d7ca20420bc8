press_host      = "10.1.1.7"
secrets_version = "1"

press_host      = "10.0.1.7"
press_interval  = 500
secrets_version = "1"

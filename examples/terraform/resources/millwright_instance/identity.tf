import {
  to = millwright_instance.plant
  identity = {
    name = "plant"
    # docker_host = "ssh://deploy@hall2.example"
  }
}

import {
  to = millwright_instance.plant
  id = "plant" # or "ssh://deploy@hall2.example/plant", for another engine than the provider's
}

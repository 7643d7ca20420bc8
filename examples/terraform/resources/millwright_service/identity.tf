import {
  to = millwright_service.press
  identity = {
    id = "press"
    # context = "berlin"
  }
}

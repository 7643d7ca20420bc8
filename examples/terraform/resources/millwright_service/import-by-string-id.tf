import {
  to = millwright_service.press
  id = "press" # or "berlin/press", for an object of the context berlin
}

import {
  to = millwright_user.line1
  id = "line1" # or "berlin/line1", for an object of the context berlin
}

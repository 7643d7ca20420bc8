import {
  to = millwright_user.line1
  identity = {
    username = "line1"
    # context = "berlin"
  }
}

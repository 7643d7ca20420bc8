import {
  to = millwright_role.operators
  identity = {
    name = "operators"
    # context = "berlin"
  }
}

import {
  to = millwright_role.operators
  id = "operators" # or "berlin/operators", for an object of the context berlin
}

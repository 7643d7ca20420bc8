# Several instances: resources say by `context` which one is theirs.
variable "tokens" {
  type      = map(string)
  ephemeral = true
}

provider "millwright" {
  contexts = {
    berlin = { url = "https://gateway.berlin.example", token = var.tokens["berlin"] }
    aachen = { url = "https://gateway.aachen.example", token = var.tokens["aachen"] }
  }
  on_unreachable = "keep" # one that is offline blocks no plan of the others
}

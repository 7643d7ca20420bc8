locals {
  findings = provider::millwright::validate_commissioning(file("${path.module}/press.yml"))
}

output "press" {
  value = file("${path.module}/press.yml")
  precondition {
    condition     = alltrue([for f in local.findings : f.severity != "error"])
    error_message = join("\n", [for f in local.findings : "press.yml:${f.line}:${f.column}: ${f.message}"])
  }
}

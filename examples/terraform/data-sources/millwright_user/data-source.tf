# An account that a service brings, or that somebody else declares.
data "millwright_user" "admin" {
  username = "admin"
}

output "admin_roles" {
  value = data.millwright_user.admin.roles
}

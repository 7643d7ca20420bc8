// Package ansible is the Ansible surface: one schema per module, from which arguments are
// checked and documentation is generated, and what each module does with them. A module
// hands desired state to the instance, which plans it; check mode, diff mode and "changed"
// all come from that one plan.
//
// Nothing on the controller checks a binary module's arguments or masks its secrets, so all
// of that is done here, in Ansible's own words.
package ansible

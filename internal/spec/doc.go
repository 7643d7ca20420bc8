// Package spec holds the nouns of Millwright (service, user, role, permission, token,
// resource, status, diagnostic) and their validation. It is pure: no clock, no network, no
// file. It imports nothing else of ours, and everything else of ours may import it.
package spec

// Package control owns the truth of an instance: services, users, roles and tokens, in a
// SQLite database. It serves the REST API, plans and applies what is asked for, and feeds
// the broker and the mappers with their desired state by the watch.
//
// What is stored of a service is its source and its parameters. The canonical form, the
// grants and the bound resources are worked out of them, at the start and at every change,
// into an immutable model; readers take the model without a lock, and one writer at a time
// stores an object and puts a new model in its place.
//
// Granting: nobody can grant more than they have. That holds for users, roles and tokens,
// for the User and Role resources that a service brings, and for what a service's own
// identity gets beyond services/<id>/# because its endpoints and mappings name topics. A
// connection of another service is used only by who may write that service. Of a service
// that is installed already only what an update adds is checked, so that somebody may edit
// an interval without having all that the service has (docs/decisions/0008).
package control

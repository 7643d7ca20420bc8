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
// and for the User and Role resources that a service brings, defaultRole among them. What a
// service's own identity gets because its endpoints and mappings name topics is listed in
// the plan, and needs no more than write permission on the service: who may install a
// service may move data.
package control

package protocol

// All lists the protocols that files may name.
var All []Spec

// Package plan compares desired with actual state (Diff, pure), holds the result as a Plan
// that prints itself, and walks it over a Target (Apply). The control part uses it for
// services, users and roles; the engine for the instance.
package plan

import (
	"github.com/millwright/millwright/internal/spec"
)

// Symbol is what a step does.
type Symbol string

// The symbols.
const (
	Create  Symbol = "+"
	Update  Symbol = "~"
	Replace Symbol = "±"
	Delete  Symbol = "-"
)

// Disturbance is what stops for a moment while a step runs, from least to most.
type Disturbance string

// The disturbances, in rising order.
const (
	DisturbsNone       Disturbance = "none"
	DisturbsEndpoint   Disturbance = "endpoint"
	DisturbsConnection Disturbance = "connection"
	DisturbsContainer  Disturbance = "container"
	DisturbsService    Disturbance = "service"
	DisturbsInstance   Disturbance = "instance"
)

// Change is one attribute that a step changes. From and To are JSON values, nil where the
// attribute does not exist; both are nil when Sensitive.
type Change struct {
	Path      string `json:"path"` // "subscribe.interval", "rules[0].cov.deadband"
	From      any    `json:"from"`
	To        any    `json:"to"`
	Sensitive bool   `json:"sensitive,omitempty"`
	// NotCompared marks a sensitive attribute that the caller may not have compared.
	NotCompared bool `json:"not_compared,omitempty"`
}

// Step is one change to one object or resource. An object's own step precedes those of its resources.
type Step struct {
	Symbol   Symbol      `json:"symbol"`
	Address  string      `json:"address"` // "role/operators", "user/line1", "service/press", "service/press/endpoint/temp"
	Changes  []Change    `json:"changes,omitempty"`
	Cause    string      `json:"cause,omitempty"`
	Disturbs Disturbance `json:"disturbs"`
	Stops    []string    `json:"stops,omitempty"`   // topics that fall silent meanwhile
	Seconds  float64     `json:"seconds,omitempty"` // estimate of how long
	// Unsupported says why this build cannot run the resource; apply refuses it unless asked.
	Unsupported string `json:"unsupported,omitempty"`

	// Result and Error are set in apply's answer.
	Result Result `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Result is what became of a step.
type Result string

// The results.
const (
	Done    Result = "done"
	Failed  Result = "failed"
	Skipped Result = "skipped" // an earlier step failed
)

// Plan is the ordered list of what apply would do. The digest names exactly this plan.
type Plan struct {
	Revision    int64             `json:"revision"`
	Digest      string            `json:"digest"`
	Steps       []Step            `json:"steps"`
	Diagnostics []spec.Diagnostic `json:"diagnostics,omitempty"`
	// Deviations of the objects named: health, never a step.
	Deviations []spec.Deviation `json:"deviations,omitempty"`
	// Services are what the services named will consist of, where the request asks for it.
	Services []spec.ServiceOutline `json:"services,omitempty"`
	// Applied is true in the answer to apply.
	Applied bool `json:"applied,omitempty"`
}

// Request is the body of POST /api/v1/plan and /api/v1/apply: any subset of objects, each in its desired state.
type Request struct {
	Roles    []spec.Role    `json:"roles,omitempty"`
	Users    []spec.User    `json:"users,omitempty"`
	Services []spec.Service `json:"services,omitempty"`

	Owner string `json:"owner,omitempty"` // marks the objects; a stack sends "stack:<name>"
	Prune bool   `json:"prune,omitempty"` // delete what the owner has and the body does not name
	Adopt bool   `json:"adopt,omitempty"` // take over objects of another owner

	MaxDisturbance   Disturbance `json:"max_disturbance,omitempty"`
	AllowUnsupported bool        `json:"allow_unsupported,omitempty"`

	// Only for plan.
	Authorise bool `json:"authorise,omitempty"` // refuse what apply would refuse this caller
	Outline   bool `json:"outline,omitempty"`   // answer with what the services will consist of

	// Only for apply.
	Digest  string  `json:"digest,omitempty"`  // of the plan that was shown; required unless Confirm is "any"
	Confirm string  `json:"confirm,omitempty"` // "any"
	Wait    WaitFor `json:"wait,omitempty"`
	Timeout string  `json:"timeout,omitempty"` // a Go duration; empty: 60s
}

// WaitFor is what apply waits for before it answers.
type WaitFor string

// The waits; empty means WaitInstalled.
const (
	WaitInstalled WaitFor = "installed" // the runtime has taken over every resource
	WaitConnected WaitFor = "connected" // every connection is connected
	WaitData      WaitFor = "data"      // every subscribing endpoint has delivered once
)

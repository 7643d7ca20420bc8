package provider

import (
	"slices"
	"sync"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/spec"
)

// outlook is what this walk's plans will bring about. Terraform plans an object after those it
// refers to; the server is told of these, since they are not there yet.
type outlook struct {
	mu       sync.Mutex
	ours     map[string]bool // addresses that the state holds
	free     map[string]bool // addresses that the server had nothing at when this walk asked
	roles    map[string]spec.Role
	services map[string]spec.Service // one without a file is not known yet
}

// own notes that the state holds an object: that it exists is no surprise then.
func (o *outlook) own(address string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ours == nil {
		o.ours = map[string]bool{}
	}
	o.ours[address] = true
}

func (o *outlook) owns(address string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ours[address]
}

// vacate notes that the server has nothing at the address.
func (o *outlook) vacate(address string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.free == nil {
		o.free = map[string]bool{}
	}
	o.free[address] = true
}

func (o *outlook) vacant(address string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.free[address]
}

func (o *outlook) addRole(r spec.Role) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.roles == nil {
		o.roles = map[string]spec.Role{}
	}
	o.roles[r.Name] = r
}

func (o *outlook) addService(s spec.Service) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.services == nil {
		o.services = map[string]spec.Service{}
	}
	o.services[s.ID] = s
}

// rolesOf are those of the names that are planned.
func (o *outlook) rolesOf(names []string) []spec.Role {
	o.mu.Lock()
	defer o.mu.Unlock()
	var planned []spec.Role
	for _, name := range names {
		if r, ok := o.roles[name]; ok {
			planned = append(planned, r)
		}
	}
	return planned
}

// servicesOf are the planned services that a service refers to, and those that they refer to.
// They are not known where one of them is not.
func (o *outlook) servicesOf(s spec.Service) (needed []spec.Service, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.services) == 0 {
		return nil, true
	}
	seen := []string{s.ID}
	queue := references(s)
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		planned, ok := o.services[id]
		if !ok || slices.Contains(seen, id) {
			continue
		}
		if planned.Commissioning == "" {
			return nil, false
		}
		seen = append(seen, id)
		needed = append(needed, planned)
		queue = append(queue, references(planned)...)
	}
	return needed, true
}

// references are the ids of the services that a service's file names.
func references(s spec.Service) []string {
	file, _ := commissioning.Parse(s.CommissioningFile, []byte(s.Commissioning)) // the server tells what is wrong with it
	if file == nil {
		return nil
	}
	parsed, _ := file.Evaluate(commissioning.Input{ID: s.ID, Parameters: s.Parameters, AllowMissing: true})
	if parsed == nil {
		return nil
	}
	return parsed.References()
}

package mqtt

import (
	"maps"
	"slices"
	"sync"
)

// farFilters are the filters that a broker keeps for a session over the sessions' ends. All methods but all
// do nothing on nil.
type farFilters struct {
	mu      sync.Mutex
	filters map[string]bool
}

func (f *farFilters) add(filter string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filters == nil {
		f.filters = map[string]bool{}
	}
	f.filters[filter] = true
}

func (f *farFilters) remove(filters []string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, filter := range filters {
		delete(f.filters, filter)
	}
}

func (f *farFilters) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.filters))
}

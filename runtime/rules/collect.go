package rules

import (
	"fmt"

	"github.com/millwright/millwright/internal/expr"
)

// maxCollected bounds the sources of one collect rule.
const maxCollected = 10_000

// collect keeps the last value of each source (label, else topic) and emits all of them.
type collect struct{ values map[string]any }

func (s *collect) run(_ *Chain, m *message) (bool, error) {
	if err := m.decode(); err != nil {
		return false, err
	}
	if _, known := s.values[m.label]; !known && len(s.values) >= maxCollected {
		return false, fmt.Errorf("cannot collect %q: %d sources are kept already", m.label, maxCollected)
	}
	s.values[m.label] = m.value
	all, err := expr.Import(s.values) // a copy
	if err != nil {
		return false, err
	}
	m.replace(all)
	return true, nil
}

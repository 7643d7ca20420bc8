package rules

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/millwright/millwright/internal/commissioning"
	"github.com/millwright/millwright/internal/expr"
)

// covSources is how many sources a cov rule remembers at least and, twice this, at most.
const covSources = 50_000

// cov lets a message pass when a value has changed enough since the last one of the same
// source that passed. A message without the value is a change from one with it, and back.
type cov struct {
	path     []string // below the message; empty for the message itself
	whole    string   // the key as one name, which comes before the path
	deadband float64
	relative bool
	// What passed last, by source (label, else topic). Of sources beyond the bound, those
	// that were silent longest are forgotten: their next message passes.
	young, old map[string]any
}

// missing is the value of a message that has none.
type missing struct{}

func compileCov(rule commissioning.CovRule) (step, error) {
	s := &cov{whole: rule.Key, deadband: rule.Deadband, young: map[string]any{}}
	switch {
	case rule.Key == "":
		return nil, errors.New("cov: key is empty")
	case !(rule.Deadband >= 0) || math.IsInf(rule.Deadband, 0):
		return nil, fmt.Errorf("cov: deadband %v is not a number from 0 on", rule.Deadband)
	}
	switch rule.DeadbandMode {
	case "", "absolute":
	case "relative":
		s.relative = true
	default:
		return nil, fmt.Errorf("cov: deadbandMode %q is neither absolute nor relative", rule.DeadbandMode)
	}
	var err error
	s.path, err = parsePath(rule.Key)
	return s, err
}

// parsePath reads "a.b", "a[0].b" or "$.a"; "$" is the message itself.
func parsePath(key string) ([]string, error) {
	text := key
	if text == "$" {
		return nil, nil
	}
	text = strings.TrimPrefix(text, "$.")
	var path []string
	for part := range strings.SplitSeq(text, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name != "" {
			path = append(path, name)
		}
		if name == "" && !indexed {
			return nil, fmt.Errorf("cov: key %q has an empty part", key)
		}
		for indexed {
			var index string
			var closed bool
			index, rest, closed = strings.Cut(rest, "]")
			if _, err := strconv.ParseUint(index, 10, 31); !closed || err != nil {
				return nil, fmt.Errorf("cov: key %q needs a number in its brackets", key)
			}
			path = append(path, index)
			if rest != "" && rest[0] != '[' {
				return nil, fmt.Errorf("cov: key %q goes on after a bracket", key)
			}
			rest, indexed = strings.CutPrefix(rest, "[")
		}
	}
	return path, nil
}

func (s *cov) run(_ *Chain, m *message) (bool, error) {
	if err := m.decode(); err != nil {
		return false, err
	}
	now := s.find(m.value)
	last, known := s.recall(m.label)
	if known && !s.changed(last, now) {
		return false, nil
	}
	s.keep(m.label, now)
	return true, nil
}

func (s *cov) find(v any) any {
	if whole, ok := expr.Get(v, s.whole); ok {
		return whole
	}
	for _, key := range s.path {
		var ok bool
		if v, ok = expr.Get(v, key); !ok {
			return missing{}
		}
	}
	return v
}

func (s *cov) changed(last, now any) bool {
	if last == (missing{}) || now == (missing{}) {
		return last != now
	}
	distance, numbers := expr.Distance(last, now)
	if !numbers {
		return !expr.Equal(last, now)
	}
	deadband := s.deadband
	if s.relative {
		size, _ := expr.Float(last)
		if math.IsNaN(size) || math.IsInf(size, 0) { // nothing is a part of these
			return distance > 0
		}
		deadband *= math.Abs(size) / 100
	}
	return distance > deadband
}

func (s *cov) recall(source string) (any, bool) {
	if v, ok := s.young[source]; ok {
		return v, true
	}
	v, ok := s.old[source]
	if ok {
		s.keep(source, v)
	}
	return v, ok
}

func (s *cov) keep(source string, v any) {
	if len(s.young) >= covSources {
		s.old, s.young = s.young, map[string]any{}
	}
	s.young[source] = v
}

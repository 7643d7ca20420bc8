package mqtt

import (
	"slices"
	"strings"
	"sync"

	"github.com/millwright/millwright/internal/spec"
	"github.com/millwright/millwright/runtime/mapper"
)

const (
	// exactID is the subscription identifier of all filters without wildcards: they cannot overlap.
	exactID = 1
	// unclaimedLimit and unclaimedBytes bound the messages of a kept session that wait for their subscription.
	unclaimedLimit = 10000
	unclaimedBytes = 16 << 20
)

// route is where the messages of one subscription go.
type route struct {
	id      string
	filter  string
	qos     byte
	deliver func(mapper.Message)

	mu     sync.Mutex // held while delivering
	closed bool
}

func (r *route) send(m mapper.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.deliver(m)
	}
}

// routes finds the subscriptions of a message.
type routes struct {
	mu       sync.RWMutex
	byID     map[string]*route
	byFilter map[string][]*route
	wild     map[string]int // wildcard filters and their subscription identifiers
	lastID   int
	asked    map[string]bool // every filter that was ever added
	// Messages that a kept session brought before its subscriptions were made again.
	unclaimed []mapper.Message
	bytes     int // of unclaimed
	dropped   int // what unclaimed had no room for
	keep      bool
	stray     func(topic string) // hears once of a message for nobody that came after that; nil: nobody does
}

func newRoutes(keep bool) *routes {
	return &routes{byID: map[string]*route{}, byFilter: map[string][]*route{}, wild: map[string]int{}, lastID: exactID, asked: map[string]bool{}, keep: keep}
}

// isWild reports a filter that may match several topics.
func isWild(filter string) bool {
	return strings.ContainsAny(filter, "+#") || strings.HasPrefix(filter, "$share/")
}

// add registers a route and returns what to subscribe to: the highest QoS of the filter's routes.
func (t *routes) add(r *route) filter {
	r.mu.Lock() // what waited is delivered before what comes from now on
	defer r.mu.Unlock()
	t.mu.Lock()
	t.byID[r.id] = r
	t.asked[r.filter] = true
	t.byFilter[r.filter] = append(t.byFilter[r.filter], r)
	f := filter{text: r.filter, id: exactID}
	for _, other := range t.byFilter[r.filter] {
		f.qos = max(f.qos, other.qos)
	}
	if isWild(r.filter) {
		if t.wild[r.filter] == 0 {
			t.lastID++
			t.wild[r.filter] = t.lastID
		}
		f.id = t.wild[r.filter]
	}
	claimed := t.claim(r)
	t.mu.Unlock()
	for _, m := range claimed {
		r.deliver(m)
	}
	return f
}

// claim takes the waiting messages that match. The caller holds the lock.
func (t *routes) claim(r *route) []mapper.Message {
	var claimed []mapper.Message
	t.unclaimed = slices.DeleteFunc(t.unclaimed, func(m mapper.Message) bool {
		if !spec.TopicMatches(plainFilter(r.filter), m.Topic) {
			return false
		}
		claimed = append(claimed, m)
		t.bytes -= size(m)
		return true
	})
	return claimed
}

// remove ends a route. It returns after its last delivery.
func (t *routes) remove(id string) {
	t.mu.Lock()
	r := t.byID[id]
	if r == nil {
		t.mu.Unlock()
		return
	}
	delete(t.byID, id)
	rest := slices.DeleteFunc(slices.Clone(t.byFilter[r.filter]), func(o *route) bool { return o == r })
	t.byFilter[r.filter] = rest
	if len(rest) == 0 {
		delete(t.byFilter, r.filter)
		delete(t.wild, r.filter)
	}
	t.mu.Unlock()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// dispatch delivers a message. Ids are its subscription identifiers, if the broker gave any: then it
// goes to those subscriptions alone, since a broker may send one copy for each.
func (t *routes) dispatch(m mapper.Message, ids []int) {
	if m.Payload == nil {
		m.Payload = []byte{}
	}
	found := t.find(m, ids)
	if len(found) == 0 {
		t.strayed(m.Topic)
	}
	for _, r := range found {
		r.send(m)
	}
}

// strayed tells of the first message for nobody, unless it waits.
func (t *routes) strayed(topic string) {
	t.mu.Lock()
	tell := t.stray
	if t.keep || tell == nil {
		t.mu.Unlock()
		return
	}
	t.stray = nil
	t.mu.Unlock()
	tell(topic)
}

// find returns the routes of a message. In a kept session a message without any waits for one.
func (t *routes) find(m mapper.Message, ids []int) []*route {
	t.mu.RLock()
	found, keep := t.matching(m, ids), t.keep
	t.mu.RUnlock()
	if len(found) > 0 || !keep {
		return found
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	found = t.matching(m, ids)
	if len(found) == 0 && t.keep { // it may have been settled meanwhile
		t.stash(m)
	}
	return found
}

// stash keeps a message until its subscription comes. The caller holds the lock.
func (t *routes) stash(m mapper.Message) {
	t.unclaimed = append(t.unclaimed, m)
	t.bytes += size(m)
	for len(t.unclaimed) > unclaimedLimit || t.bytes > unclaimedBytes {
		t.bytes -= size(t.unclaimed[0])
		t.unclaimed[0] = mapper.Message{}
		t.unclaimed = t.unclaimed[1:]
		t.dropped++
	}
}

func size(m mapper.Message) int { return len(m.Topic) + len(m.Payload) }

// settle ends the keeping of messages: all subscriptions are made. It returns the topics of those that nobody
// has claimed, and how many messages were dropped.
func (t *routes) settle() (topics []string, dropped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range t.unclaimed {
		if !seen[m.Topic] {
			seen[m.Topic] = true
			topics = append(topics, m.Topic)
		}
	}
	dropped = t.dropped + len(t.unclaimed)
	t.keep, t.unclaimed, t.bytes, t.dropped = false, nil, 0, 0
	return topics, dropped
}

// unused returns the filters that nobody uses once the routes with the ids are gone.
func (t *routes) unused(ids []string) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	leaving := map[*route]bool{}
	for _, id := range ids {
		if r := t.byID[id]; r != nil {
			leaving[r] = true
		}
	}
	var filters []string
	for r := range leaving {
		stays := func(o *route) bool { return !leaving[o] }
		if !slices.ContainsFunc(t.byFilter[r.filter], stays) && !slices.Contains(filters, r.filter) {
			filters = append(filters, r.filter)
		}
	}
	return filters
}

// wasAsked reports whether a filter was ever added.
func (t *routes) wasAsked(filter string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.asked[filter]
}

func (t *routes) matching(m mapper.Message, ids []int) []*route {
	var found []*route
	if len(ids) == 0 || slices.Contains(ids, exactID) {
		found = append(found, t.byFilter[m.Topic]...)
	}
	for f, id := range t.wild {
		if len(ids) == 0 && spec.TopicMatches(plainFilter(f), m.Topic) || slices.Contains(ids, id) {
			found = append(found, t.byFilter[f]...)
		}
	}
	return found
}

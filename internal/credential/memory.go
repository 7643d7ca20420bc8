package credential

import "sync"

// memory is a bounded set of pairs. It has two generations: when the young one is full, it
// becomes the old one and what was old and not asked for since is gone. So what is in use
// stays, as in an LRU list, without a list.
type memory struct {
	mu    sync.Mutex
	size  int // of one generation
	young map[[32]byte]struct{}
	old   map[[32]byte]struct{}
}

func newMemory(size int) *memory {
	return &memory{size: max(size/2, 1), young: map[[32]byte]struct{}{}}
}

func (m *memory) has(pair [32]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.young[pair]; ok {
		return true
	}
	_, ok := m.old[pair]
	if ok {
		m.put(pair)
	}
	return ok
}

func (m *memory) add(pair [32]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(pair)
}

func (m *memory) put(pair [32]byte) {
	if len(m.young) >= m.size {
		m.old, m.young = m.young, make(map[[32]byte]struct{}, m.size)
	}
	m.young[pair] = struct{}{}
}

package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/millwright/millwright/internal/journal"
)

// SessionInfo says how one network client fares.
type SessionInfo struct {
	Identity, Client string
	Connected        bool
	Subscriptions    int
	Messages         int       // that wait for it, with those that it has not acknowledged
	Bytes            int64     // of those that it was not sent, in memory and on disk
	Dropped          int64     // messages that it did not get, since the broker's start
	Oldest           time.Time // when the first of the messages on disk came; zero: there are none
}

// Sessions lists the sessions of network clients, connected or not, by identity and client id.
func (b *Broker) Sessions() []SessionInfo {
	sessions := b.allSessions()
	out := make([]SessionInfo, 0, len(sessions))
	for _, s := range sessions {
		out = append(out, b.info(s))
	}
	slices.SortFunc(out, func(x, y SessionInfo) int {
		return cmp.Or(cmp.Compare(x.Identity, y.Identity), cmp.Compare(x.Client, y.Client))
	})
	return out
}

func (b *Broker) allSessions() []*session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		out = append(out, s)
	}
	return out
}

func (b *Broker) info(s *session) SessionInfo {
	i := SessionInfo{Identity: s.key.user, Client: s.key.client, Connected: s.online.Load(), Dropped: s.lost.Load(), Oldest: b.oldest(s)}
	b.mu.RLock()
	i.Subscriptions = s.subscriptions.len()
	b.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Messages, i.Bytes = s.box.waiting(), int64(s.box.size)+s.box.onDisk
	return i
}

// oldest returns when the first of the session's messages on disk was stored.
func (b *Broker) oldest(s *session) time.Time {
	for at, before := s.first(), journal.Position(0); at != before; at, before = s.first(), at {
		if rec, err := b.journal.Read(at); err == nil && len(rec) > 0 && rec[0] == recordMessage {
			f := fields{rest: rec[1:]}
			return f.head(&message{}).stored
		}
	}
	return time.Time{} // there is none, or it cannot be read: its session is told
}

// first returns where the first of the messages on disk lies, 0 for nowhere.
func (s *session) first() (at journal.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.box.inflight.len() > 0 {
		return s.box.inflight.at(0).at
	}
	for _, d := range s.box.buffer.all() {
		if d.at != 0 {
			return d.at
		}
	}
	if s.box.tail.len() > 0 {
		return s.box.tail.at(0).at
	}
	return 0
}

package opcua

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/ua"

	"github.com/millwright/millwright/runtime/mapper"
)

// session is an activated session on its secure channel.
type session struct {
	channel *channel
	token   *ua.NodeID
	timeout time.Duration
	pace    pace
	log     *slog.Logger
	limits  *limits
	nodes   *nodes
	pushed  *publisher

	closing sync.Once
	mu      sync.Mutex
	ended   bool
	err     error
	done    chan struct{}
}

var _ mapper.Session = (*session)(nil)

// pace is how closely a session watches its server.
type pace struct {
	look    time.Duration // how often it looks after its subscriptions
	try     time.Duration // how often it tries an idle link, and how long an answer may take
	beat    time.Duration // how often, at most, a subscription brings the server's clock
	silence time.Duration // how long, at least, a subscription may be silent
	goodbye time.Duration // how long the server may take to confirm the session's end
}

const goodbyePatience = 500 * time.Millisecond

func standardPace() pace {
	return pace{look: time.Second, try: 5 * time.Second, beat: time.Second, silence: 5 * time.Second, goodbye: goodbyePatience}
}

// start runs the session's watchers; limits must be known.
func (s *session) start() {
	s.pushed = newPublisher(s)
	go s.watch()
	go s.pushed.run()
}

// Done is closed when the link is lost or Close was called.
func (s *session) Done() <-chan struct{} { return s.done }

// Err says why Done is closed, nil after Close.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// end closes Done; the first reason counts.
func (s *session) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended, s.err = true, reason
	close(s.done)
	if reason != nil {
		s.channel.fail(reason)
	}
}

// Close says goodbye, for half a second at most, and drops the link.
func (s *session) Close() error {
	s.closing.Do(func() {
		s.end(nil)
		ctx, cancel := context.WithTimeoutCause(context.Background(), s.pace.goodbye, errNoAnswer)
		defer cancel()
		if s.channel.reason() == nil {
			request := &ua.CloseSessionRequest{DeleteSubscriptions: true}
			if _, err := s.channel.call(ctx, request, s.header()); err != nil {
				s.log.Warn("the server did not confirm the end of the session", "error", named(err))
			}
		}
		s.channel.close(ctx)
	})
	return nil
}

func (s *session) header() *ua.RequestHeader {
	return &ua.RequestHeader{AuthenticationToken: s.token, TimeoutHint: uint32(requestPatience / time.Millisecond)}
}

// ask sends a request of the session and returns the answer, which is a T. An answer that
// says that the session is gone ends it here too.
func ask[T ua.Response](ctx context.Context, s *session, request ua.Request) (T, error) {
	var none T
	response, err := s.channel.call(ctx, request, s.header())
	if err != nil {
		if endsSession(err) {
			s.end(named(err))
		}
		return none, err
	}
	typed, ok := response.(T)
	if !ok {
		return none, errors.New("the server's answer is of the wrong type")
	}
	return typed, nil
}

// watch ends the session with its link, when the server stops answering, and when a
// subscription falls silent although the server answers.
func (s *session) watch() {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("the session's watcher failed", "panic", p)
			s.end(errors.New("the session's watcher failed"))
		}
	}()
	clock := time.NewTicker(s.pace.look)
	defer clock.Stop()
	period := max(s.pace.look, min(s.pace.try, s.timeout/3))
	tried := time.Now()
	for {
		select {
		case <-s.done:
			return
		case <-s.channel.done:
			s.end(named(s.channel.reason()))
			return
		case now := <-clock.C:
			silent := s.pushed.silent(now)
			if silent == nil && now.Sub(tried) < period {
				continue
			}
			if err := s.try(); err != nil {
				s.end(err)
			} else if silent != nil {
				s.end(silent)
			}
			tried = time.Now()
		}
	}
}

// try reads the server's clock: any answer will do.
func (s *session) try() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), s.pace.try, errUnresponsive)
	defer cancel()
	_, err := s.readAttributes(ctx, []*ua.ReadValueID{valueOf(serverTime())})
	if err == nil || endsSession(err) {
		return nil
	}
	if _, answered := statusOf(err); answered {
		return nil
	}
	return err
}

var errUnresponsive = errors.New("the server stopped answering")

func serverTime() *ua.NodeID { return ua.NewNumericNodeID(0, id.Server_ServerStatus_CurrentTime) }

func valueOf(node *ua.NodeID) *ua.ReadValueID { return attributeOf(node, ua.AttributeIDValue) }

func attributeOf(node *ua.NodeID, attribute ua.AttributeID) *ua.ReadValueID {
	return &ua.ReadValueID{NodeID: node, AttributeID: attribute, DataEncoding: &ua.QualifiedName{}}
}

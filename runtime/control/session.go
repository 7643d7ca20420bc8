package control

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/millwright/millwright/internal/spec"
)

// Session is somebody who has logged in, as the page reads the instance for them: what they
// may read over the API and of the broker, and no more.
type Session struct {
	control *Control
	who     *caller
}

// Login trades a password for a token of some hours, as the API's route does; wrong
// passwords from the address are limited together with the API's and the broker's.
func (c *Control) Login(ctx context.Context, username, password, address string) (spec.LoginReply, error) {
	return c.login(ctx, username, password, address)
}

// Session finds out whose token it is. A token that is not in force is an error of kind unauthorised.
func (c *Control) Session(ctx context.Context, token string) (*Session, error) {
	who, err := c.authenticate(ctx, token)
	if err != nil {
		return nil, err
	}
	return &Session{c, who}, nil
}

// User is the name of who has logged in.
func (s *Session) User() string { return s.who.username }

// Services lists, by id, what the routes of the services show this user; whole is true if
// that is all there are.
func (s *Session) Services() (seen []spec.ServiceView, whole bool) {
	const route = apiRoot + "/services"
	m := s.control.model.Load()
	whole = s.mayGet(route)
	for _, id := range sortedKeys(m.services) {
		if whole || s.mayGet(route+"/"+id) {
			seen = append(seen, s.control.viewOfService(m, m.services[id], false))
		}
	}
	return seen, whole
}

// Resources lists how a service's resources stand, by id; ok is false where this user may
// not read them, or the service does not exist.
func (s *Session) Resources(service string) (all []spec.ResourceStatus, ok bool) {
	found, there := s.control.model.Load().services[service]
	if !there || !s.mayGet(apiRoot+"/services/"+service+"/resources") {
		return nil, false
	}
	all = s.control.resourcesOf(found)
	slices.SortFunc(all, func(a, b spec.ResourceStatus) int { return cmp.Compare(a.ID, b.ID) })
	return all, true
}

// MayRead reports whether this user may read the messages on a topic.
func (s *Session) MayRead(topic string) bool { return s.who.allows(spec.MQTT, spec.Read, topic) }

// End revokes the session's token.
func (s *Session) End(ctx context.Context) error {
	return s.control.endSession(ctx, s.who)
}

func (s *Session) mayGet(path string) bool {
	return s.who.allows(spec.HTTP, operationOf(http.MethodGet), path)
}

func (c *Control) endSession(ctx context.Context, who *caller) error {
	err := c.store.touch(ctx, func(tx *transaction) error { return tx.deleteToken(who.tokenID) })
	c.access.raise()
	return err
}

// EndpointTopics are the topics of the endpoints that the mappers report.
func (c *Control) EndpointTopics() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	topics := map[string]bool{}
	for _, a := range c.agents {
		for _, s := range a.statuses {
			if s.Type == "Endpoint" && s.Topic != "" {
				topics[s.Topic] = true
			}
		}
	}
	return topics
}

// resourcesOf lists every resource of a service's file. What no agent reports is shown
// without a state, or as unsupported.
func (c *Control) resourcesOf(s *service) []spec.ResourceStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]spec.ResourceStatus, 0, len(s.canonical.Resources))
	for _, r := range s.canonical.Resources {
		status := spec.ResourceStatus{Service: s.record.ID, ID: r.ID, Type: r.Type}
		if a, known := c.agents[s.agents[r.ID]]; known {
			if reported, ok := a.statuses[spec.ResourceKey(s.record.ID, r.ID)]; ok {
				status = reported
			}
		}
		if r.Unsupported != "" {
			status.State, status.Error = spec.StateUnknown, r.Unsupported
		}
		all = append(all, status)
	}
	return all
}

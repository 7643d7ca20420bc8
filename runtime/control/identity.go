package control

import (
	"maps"
	"slices"

	"github.com/millwright/millwright/internal/credential"
	"github.com/millwright/millwright/internal/spec"
)

// MessagesIdentity is who reads messages for the API's streams. Nobody can log in as it but
// the control part, where the broker runs in another process; the API checks what each caller may read.
const MessagesIdentity = "control:messages"

// identitiesOf is the broker's policy: accounts with a password, the enabled services
// themselves, and who reads for the API.
func (c *Control) identitiesOf(m *model) map[string]spec.Identity {
	all := map[string]spec.Identity{
		MessagesIdentity: {Name: MessagesIdentity, Permissions: []spec.Permission{
			{Resource: "#", Operation: spec.Read, Context: spec.MQTT},
			{Resource: "$SYS/#", Operation: spec.Read, Context: spec.MQTT},
		}},
	}
	if hash := c.opts.MessagesCredential; hash != "" {
		reader := all[MessagesIdentity]
		reader.Credentials = []string{hash}
		all[MessagesIdentity] = reader
	}
	c.hashes.keep(m.brought.passwords)
	for name, u := range m.brought.users {
		if !m.brought.enabled[name] {
			continue
		}
		hash, err := c.hashes.of(name, m.brought.passwords[name])
		if err != nil {
			c.opts.Log.Error("a service's user cannot log in", "user", name, "owner", u.Owner, "error", err)
			continue
		}
		u.Password = hash
		all[name] = m.identity(u)
	}
	for name, u := range m.users {
		if u.Password != "" && slices.Contains(u.Grants, spec.GrantPassword) {
			all[name] = m.identity(u)
		}
	}
	for id, s := range m.services {
		all[spec.ServiceIdentity(id)] = m.identityOf(s)
	}
	return all
}

// identityOf is a service itself at the broker. Nobody can log in as one that does not run, but
// what is retained of it stays until it is deleted.
func (m *model) identityOf(s *service) spec.Identity {
	own := credential.HashGenerated(s.record.Content.Secret)
	id := spec.Identity{
		Name: spec.ServiceIdentity(s.record.ID), Credentials: []string{}, Permissions: []spec.Permission{},
		Home: spec.MqttRoot(s.record.ID) + "/#", Born: own,
	}
	if s.runs() {
		id.Credentials = append([]string{own}, m.credentialsOf(s)...)
		id.Permissions = mqttOnly(m.grants[s.record.ID].permissions)
	}
	return id
}

// credentialsOf are those of the mappers in other processes that run the service: each logs in
// at the broker as every one of its services, with its own secret.
func (m *model) credentialsOf(s *service) []string {
	var hashes []string
	for _, agent := range slices.Sorted(maps.Values(s.agents)) {
		if p, ok := m.parts[agent]; ok && p.Credential != "" && !slices.Contains(hashes, p.Credential) {
			hashes = append(hashes, p.Credential)
		}
	}
	return hashes
}

func (m *model) identity(u userRecord) spec.Identity {
	return spec.Identity{Name: u.Name, Credentials: []string{u.Password}, Permissions: mqttOnly(m.permissionsOf(u))}
}

func mqttOnly(permissions []spec.Permission) []spec.Permission {
	return slices.DeleteFunc(slices.Clone(permissions), func(p spec.Permission) bool { return p.Context != spec.MQTT })
}

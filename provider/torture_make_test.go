package provider_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// scene is a random configuration that changes at random. All names are new ones, so that what
// is left over would show.
type scene struct {
	*rand.Rand
	count    int
	roles    []*aRole
	users    []*aUser
	services []*aService
}

type aRole struct {
	label, name string
	permissions []any
}

type aUser struct {
	label, name         string
	version             int // of the password; 0: none is given
	roles               []*aRole
	permissions, grants []any // nil: not given
	declared            bool  // roles is given
	held                bool  // it has roles, as last written: what is left out then stays
	wishes              map[string]any
}

type aService struct {
	label, id  string
	text       aFile
	parameters map[string]any // nil: not given
	version    int            // of the secret; 0: none is given
	off        bool
	needs      *aService // its file refers to this one's
	wishes     map[string]any
}

func newScene(seed uint64) *scene {
	s := &scene{Rand: rand.New(rand.NewPCG(seed, 7))}
	for range 1 + s.IntN(3) {
		s.addRole()
	}
	for range 1 + s.IntN(3) {
		s.addUser()
	}
	for range 1 + s.IntN(4) {
		s.addService()
	}
	if s.chance(10) {
		s.roles[0].name, s.users[0].name = "...", "-"
	}
	return s
}

func pick[T any](s *scene, from ...T) T { return from[s.IntN(len(from))] }

func (s *scene) chance(percent int) bool { return s.IntN(100) < percent }

func (s *scene) label(kind string) string { s.count++; return fmt.Sprintf("%s%d", kind, s.count) }

// name is one of an account or role.
func (s *scene) name() string {
	s.count++
	if s.count > 1 && s.chance(3) {
		return strings.Repeat(".", s.count+1)
	}
	return pick(s, "", "-", "_", ".", "@", "Line-", "a.b@c_", strings.Repeat("x", 46)) + fmt.Sprint(s.count) + pick(s, "", "-", ".", "@plant.example", "_", ".yml")
}

func (s *scene) id() string {
	s.count++
	return pick(s, "press", "P", "0", "a.b_c", strings.Repeat("long.", 20)) + fmt.Sprint(s.count) + pick(s, "", ".", "_", ".yml", "..")
}

var words = []string{
	"plant", "Halle 3", "Presse Ä", "プレス", "línea", "a'b", `a"b`, "50%", "%{x}", "$x", "${x}", "#1", "café", "a: b", "- a", "true", "null", "1e3", "0x1f", "~", "🙂", "<b>&amp;", `back\slash`, "trailing ",
}

func (s *scene) word() string { return pick(s, words...) }

// topic has no wildcard and no reference.
func (s *scene) topic() string {
	levels := []string{fmt.Sprint("t", s.IntN(20))}
	for range s.IntN(3) {
		word := s.word()
		if strings.ContainsAny(word, "#+$/{") {
			word = "x"
		}
		levels = append(levels, word)
	}
	return strings.Join(levels, "/")
}

func (s *scene) permissionSet(most int) []any {
	set := []any{}
	for range s.IntN(most + 1) {
		if s.chance(30) {
			set = append(set, map[string]any{"resource": "api/v1/" + pick(s, "#", "services/+", "topics"), "operation": pick(s, "read", "write", "readWrite"), "context": "http"})
			continue
		}
		set = append(set, map[string]any{"resource": s.topic() + pick(s, "", "/#", "/+/x"), "operation": pick(s, "read", "write", "readWrite"), "context": "mqtt"})
	}
	return set
}

func (s *scene) addRole() {
	s.roles = append(s.roles, &aRole{label: s.label("r"), name: s.name(), permissions: s.permissionSet(4)})
}

func (s *scene) addUser() {
	u := &aUser{label: s.label("u"), name: s.name(), wishes: s.how()}
	s.changeUser(u)
	s.users = append(s.users, u)
}

func (s *scene) changeUser(u *aUser) {
	switch s.IntN(5) {
	case 0:
		u.version++
	case 1:
		u.declared, u.roles = true, nil
		for _, r := range s.roles {
			if s.chance(50) {
				u.roles = append(u.roles, r)
			}
		}
	case 2:
		u.permissions = s.permissionSet(3)
	case 3:
		u.grants = pick(s, []any{}, []any{"token"}, []any{"password"}, []any{"password", "token"})
	case 4: // what is not given any more is left as it is
		if len(u.roles) == 0 && !u.held {
			u.declared = false
		}
		u.permissions, u.grants = nil, nil
	}
}

// how is what all resources have in common.
func (s *scene) how() map[string]any {
	h := map[string]any{}
	if s.chance(20) {
		h["adopt"] = s.chance(50)
	}
	if s.chance(20) {
		h["max_disturbance"] = "instance"
	}
	if s.chance(20) {
		h["timeouts"] = pick(s, map[string]any{}, map[string]any{"update": "2m"}, map[string]any{"create": "90s", "read": "30s"})
	}
	return h
}

func (s *scene) addService() {
	v := &aService{label: s.label("s"), id: s.id(), text: s.file(), wishes: s.how()}
	if s.chance(30) {
		v.wishes["allow_unsupported"] = s.chance(50)
	}
	if s.chance(30) {
		v.wishes["wait_for"] = "installed"
	}
	if len(s.services) > 0 && s.chance(40) {
		v.needs = pick(s, s.services...)
	}
	if v.text.secret {
		v.version = 1
	}
	s.changeParameters(v)
	s.services = append(s.services, v)
}

func (s *scene) changeParameters(v *aService) {
	switch s.IntN(4) {
	case 0:
		v.parameters = nil
	case 1:
		v.parameters = map[string]any{}
	default:
		v.parameters = map[string]any{}
		for name, value := range map[string]any{"line": strings.ReplaceAll(s.word(), "#", "No. "), "interval": pick[any](s, 100, 1000, 1000000), "ratio": pick[any](s, 0.1, 1, 2.5e10), "flag": s.chance(50)} {
			if s.chance(50) {
				v.parameters[name] = value
			}
		}
		if s.chance(20) {
			v.parameters["line"] = nil
		}
	}
}

// change changes the scene at random.
func (s *scene) change() {
	for range 1 + s.IntN(5) {
		switch s.IntN(10) {
		case 0:
			pick(s, s.addRole, s.addUser, s.addService)()
		case 1:
			s.remove()
		case 2:
			s.rename()
		case 3:
			if len(s.roles) > 0 {
				pick(s, s.roles...).permissions = s.permissionSet(4)
			}
		case 4, 5:
			if len(s.users) > 0 {
				s.changeUser(pick(s, s.users...))
			}
		default:
			if len(s.services) > 0 {
				s.changeService(pick(s, s.services...))
			}
		}
	}
}

func (s *scene) changeService(v *aService) {
	switch s.IntN(5) {
	case 0:
		v.off = !v.off
	case 1:
		s.changeParameters(v)
	case 2:
		if v.text.secret {
			v.version++
		}
	case 3:
		secret := v.text.secret
		v.text = s.file()
		if v.text.secret != secret {
			v.version = 0
		}
		if v.text.secret {
			v.version++
		}
	default:
		s.changeFile(&v.text)
	}
}

func (s *scene) remove() {
	switch {
	case s.chance(33) && len(s.roles) > 0:
		gone := pick(s, s.roles...)
		s.roles = slices.DeleteFunc(s.roles, func(r *aRole) bool { return r == gone })
		for _, u := range s.users {
			u.roles = slices.DeleteFunc(u.roles, func(r *aRole) bool { return r == gone })
		}
	case s.chance(50) && len(s.users) > 0:
		s.users = slices.Delete(s.users, 0, 1)
	case len(s.services) > 0:
		gone := pick(s, s.services...)
		s.services = slices.DeleteFunc(s.services, func(v *aService) bool { return v == gone })
		for _, v := range s.services {
			if v.needs == gone {
				v.needs = nil
			}
		}
	}
}

func (s *scene) rename() {
	switch {
	case s.chance(33) && len(s.roles) > 0:
		pick(s, s.roles...).name = s.name()
	case s.chance(50) && len(s.users) > 0:
		u := pick(s, s.users...)
		u.name = s.name()
	case len(s.services) > 0:
		pick(s, s.services...).id = s.id()
	}
}

// shuffled is a set in any order, with repetitions.
func (s *scene) shuffled(set []any) []any {
	out := slices.Clone(set)
	if len(out) > 0 && s.chance(20) {
		out = append(out, out[0])
	}
	s.Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return out
}

// render writes the configuration; each time in another order and other words.
func (s *scene) render() []wish {
	var all []wish
	for _, r := range s.roles {
		all = append(all, wish{address: "millwright_role." + r.label, first: true, values: map[string]any{"name": r.name, "permissions": s.shuffled(r.permissions)}})
	}
	for _, u := range s.users {
		w := wish{address: "millwright_user." + u.label, values: map[string]any{"username": u.name}}
		addTo(w.values, u.wishes)
		if u.version > 0 {
			w.values["password_wo"], w.values["password_wo_version"] = fmt.Sprintf("%s-password-%d", u.label, u.version), fmt.Sprint("v ", u.version)
		}
		if u.declared {
			names := []any{}
			u.held = len(u.roles) > 0
			for _, r := range u.roles {
				names = append(names, r.name)
				w.needs = append(w.needs, "millwright_role."+r.label)
			}
			w.values["roles"] = s.shuffled(names)
		}
		if u.permissions != nil {
			w.values["permissions"] = s.shuffled(u.permissions)
		}
		if u.grants != nil {
			w.values["grants"] = s.shuffled(u.grants)
		}
		all = append(all, w)
	}
	for _, v := range s.services {
		w := wish{address: "millwright_service." + v.label, first: true, values: map[string]any{"id": v.id}}
		other := ""
		if v.needs != nil {
			other, w.needs = v.needs.id, []string{"millwright_service." + v.needs.label}
		}
		addTo(w.values, v.wishes)
		w.values["commissioning"] = s.write(v.text, other)
		if v.parameters != nil {
			w.values["parameters"] = v.parameters
		}
		if v.version > 0 {
			w.values["parameters_wo"] = map[string]any{"password": fmt.Sprintf("%s-secret-%d", v.label, v.version)}
			w.values["parameters_wo_version"] = fmt.Sprint(v.version, " Ä")
		}
		if v.off || s.chance(20) {
			w.values["enabled"] = !v.off
		}
		all = append(all, w)
	}
	s.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	return all
}

func addTo(values, more map[string]any) {
	for name, v := range more {
		values[name] = v
	}
}

// written is a configuration in Terraform's JSON.
func written(settings map[string]any, wishes []wish) (string, error) {
	blocks := map[string]map[string]any{}
	for _, w := range wishes {
		kind, label, _ := strings.Cut(w.address, ".")
		block := map[string]any{}
		addTo(block, literal(w.values).(map[string]any))
		if len(w.needs) > 0 {
			block["depends_on"] = w.needs
		}
		block["lifecycle"] = map[string]any{"create_before_destroy": w.first}
		if blocks[kind] == nil {
			blocks[kind] = map[string]any{}
		}
		blocks[kind][label] = block
	}
	text, err := json.MarshalIndent(map[string]any{
		"terraform": map[string]any{"required_providers": map[string]any{"millwright": map[string]any{"source": "millwright/millwright"}}},
		"provider":  map[string]any{"millwright": settings}, "resource": blocks,
	}, "", "  ")
	return string(text), err
}

// literal has texts stand for themselves, not for templates.
func literal(v any) any {
	switch x := v.(type) {
	case string:
		return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(x)
	case []any:
		out := []any{}
		for _, e := range x {
			out = append(out, literal(e))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, f := range x {
			out[name] = literal(f)
		}
		return out
	}
	return v
}

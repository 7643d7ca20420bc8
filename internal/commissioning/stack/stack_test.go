package stack

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/spec"
)

const plant = `stack: plant-a
instance: {install_path: /opt/millwright}
roles:
  - {name: operators, permissions: [{resource: plant/#, operation: read, context: mqtt}]}
users:
  - {username: line1, password: {env: LINE1_PASSWORD}, roles: [operators]}
  - username: line2
    password: {file: secrets/line2}
  - username: line3
    password: "12345"
    roles: []
services:
  - {id: press, commissioning_file: ./press.yml, parameters: {host: 10.0.0.7, total: 9007199254740993}}
  - {id: old, state: absent}
`

func sources(files map[string]string) Sources {
	return Sources{
		Env: func(name string) (string, bool) { return "from-" + name, name == "LINE1_PASSWORD" },
		File: func(path string) ([]byte, error) {
			text, ok := files[path]
			if !ok {
				return nil, errors.New("no such file")
			}
			return []byte(text), nil
		},
	}
}

func TestStack(t *testing.T) {
	s, ds := Parse("halls/plant.yaml", []byte(plant))
	if len(ds) > 0 {
		t.Fatalf("unexpected findings: %v", ds)
	}
	if s.Owner() != "stack:plant-a" || s.Identity().InstallPath != "/opt/millwright" {
		t.Errorf("got owner %q, instance %v", s.Owner(), s.Identity())
	}
	want := []spec.Role{{Name: "operators", Permissions: []spec.Permission{{Resource: "plant/#", Operation: spec.Read, Context: spec.MQTT}}}}
	if !reflect.DeepEqual(s.Roles, want) {
		t.Errorf("got roles %+v", s.Roles)
	}
	users, services, ds := s.Load(sources(map[string]string{"halls/secrets/line2": "hunter22\n", "halls/press.yml": "resources: {}\n"}))
	if len(ds) > 0 {
		t.Fatalf("unexpected findings: %v", ds)
	}
	for i, want := range []string{"from-LINE1_PASSWORD", "hunter22", "12345"} {
		if *users[i].Password != want {
			t.Errorf("user %d has password %q, want %q", i, *users[i].Password, want)
		}
	}
	if users[1].Roles != nil || users[2].Roles == nil {
		t.Errorf("a list that is not given must stay nil (%v), an empty one empty (%v)", users[1].Roles, users[2].Roles)
	}
	if services[0].CommissioningFile != "halls/press.yml" || services[0].Commissioning != "resources: {}\n" {
		t.Errorf("got service %+v", services[0])
	}
	if total := services[0].Parameters["total"]; total == nil || !strings.Contains(fmt.Sprint(total), "9007199254740993") {
		t.Errorf("total lost digits: %v", total)
	}
	if services[1].State != spec.Absent {
		t.Errorf("got service %+v", services[1])
	}
}

func TestMistakes(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"no map":           {"- a\n", "f.yaml:1:1: error: the file holds a list, not a map [not-a-map]"},
		"both kinds":       {"stack: a\nresources: {}\n", "f.yaml:2:1: error: a stack file cannot hold resources (put it into a commissioning file and name that under services) [mixed-file]"},
		"slip":             {"stack: a\nservice: []\n", `f.yaml:2:1: error: unknown property "service" (did you mean "services"?) [unknown-property]`},
		"bad name":         {"stack: a b\n", `f.yaml:1:8: error: cannot name a stack "a b": use 1 to 64 of letters, digits, "_", ".", "@", "-" [bad-id]`},
		"bad operation":    {"stack: a\nroles:\n  - {name: r, permissions: [{resource: a, operation: own, context: mqtt}]}\n", "f.yaml:3:54"},
		"neither":          {"stack: a\nservices:\n  - state: disabled\n", "f.yaml:3:5: error: services[0].id or commissioning_file is missing"},
		"twice":            {"stack: a\nroles: [{name: r}, {name: r}]\n", `f.yaml:2:20: error: role "r" is already declared`},
		"short password":   {"stack: a\nusers:\n  - {username: u, password: abc}\n", "fewer than 5 characters"},
		"number":           {"stack: a\nusers:\n  - {username: u, password: 12345}\n", "f.yaml:3:29: error: password must be text"},
		"env and file":     {"stack: a\nusers:\n  - {username: u, password: {env: A, file: b}}\n", "password must be text"},
		"plain secret":     {"stack: a\nservices:\n  - {id: b, secret_parameters: {pin: '0815'}}\n", `f.yaml:3:38: error: secret "pin" must be {env: NAME} or {file: PATH}`},
		"given twice":      {"stack: a\nservices:\n  - {id: b, parameters: {pin: 1}, secret_parameters: {pin: {env: PIN}}}\n", `f.yaml:3:60: error: parameter "pin" is given under parameters and under secret_parameters`},
		"reserved in name": {"stack: a\nusers:\n  - {username: 'service:x'}\n", "cannot name a user"},
	} {
		t.Run(name, func(t *testing.T) {
			_, ds := Parse("f.yaml", []byte(c.src))
			var lines []string
			for _, d := range ds {
				lines = append(lines, d.String()+" ["+d.Code+"]")
			}
			if all := strings.Join(lines, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("got\n%s\nwant %s", all, c.want)
			}
		})
	}
}

// TestOnce holds that a mistake is one finding.
func TestOnce(t *testing.T) {
	for name, src := range map[string]string{
		"state":      "stack: a\nservices:\n  - {id: press, state: bogus, commissioning_file: p.yml}\n",
		"role state": "stack: a\nroles:\n  - {name: r, state: enabled, permissions: []}\n",
		"operation":  "stack: a\nroles:\n  - {name: r, permissions: [{resource: a, operation: reed, context: mqtt}]}\n",
		"filter":     "stack: a\nusers:\n  - {username: u, permissions: [{resource: a/#/b, operation: read, context: mqtt}]}\n",
		"id":         "stack: a\nservices:\n  - {id: a b, state: absent}\n",
	} {
		if _, ds := Parse("f.yaml", []byte(src)); len(ds) != 1 {
			t.Errorf("%s: got %v", name, ds)
		}
	}
}

// TestKept holds that a service that is there needs no file.
func TestKept(t *testing.T) {
	s, ds := Parse("f.yaml", []byte("stack: a\nservices:\n  - {id: a}\n  - {id: b, state: present}\n  - {id: c, state: disabled}\n  - {id: d, state: restarted}\n  - {id: e, state: enabled, parameters: {x: 1}}\n"))
	if len(ds) > 0 || len(s.Services) != 5 || s.Services[2].State != spec.Disabled {
		t.Fatalf("got %v, %v", s.Services, ds)
	}
	if _, services, ds := s.Load(sources(nil)); len(ds) > 0 || services[2].Commissioning != "" {
		t.Errorf("got %v, %v", services, ds)
	}
}

func TestSecrets(t *testing.T) {
	src := "stack: a\nservices:\n  - id: b\n    commissioning_file: b.yml\n    parameters: {host: h}\n    merge_parameters: true\n" +
		"    secret_parameters: {pin: {file: pin.txt}, token: {env: LINE1_PASSWORD}}\n  - {id: c, parameters: {x: 1}}\n"
	s, ds := Parse("halls/f.yaml", []byte(src))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	_, services, ds := s.Load(sources(map[string]string{"halls/b.yml": "resources: {}\n", "halls/pin.txt": "0815\n"}))
	want := map[string]any{"pin": "0815", "token": "from-LINE1_PASSWORD"}
	if len(ds) > 0 || !services[0].MergeParameters || !reflect.DeepEqual(services[0].SecretParameters, want) || len(services[0].Parameters) != 1 {
		t.Errorf("got %v, %v", services, ds)
	}
	if services[1].SecretParameters != nil || len(services[1].Parameters) != 1 {
		t.Errorf("got %v", services[1])
	}
	_, _, ds = s.Load(Sources{Env: func(string) (string, bool) { return "", false }, File: sources(nil).File})
	if len(ds) != 3 || ds[1].Code != "unreadable-file" || ds[2].Code != "missing-variable" || ds[2].Line != 7 {
		t.Errorf("got %v", ds)
	}
}

func TestUnreadable(t *testing.T) {
	s, ds := Parse("plant.yaml", []byte("stack: a\nusers:\n  - {username: u, password: {env: NONE}}\nservices:\n  - {id: a, commissioning_file: no.yml}\n"))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	_, _, ds = s.Load(sources(nil))
	if len(ds) != 2 || ds[0].Line != 3 || ds[1].Line != 5 || ds[1].Column != 33 {
		t.Errorf("got %v", ds)
	}
}

func TestKind(t *testing.T) {
	for src, want := range map[string]bool{
		"stack: a\n": true, "{stack: a}": true, "resources: {}\n": false, "": false, "a: [": false,
		"description: |\n  stack: a\nresources: {}\n": false,
	} {
		if got := Kind([]byte(src)); got != want {
			t.Errorf("Kind(%q) = %v", src, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(plant))
	f.Fuzz(func(_ *testing.T, src []byte) {
		s, _ := Parse("f.yaml", src)
		if s != nil {
			s.Load(sources(nil))
		}
	})
}

package stack

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/commissioning/shape"
	"github.com/millwright/millwright/internal/spec"
)

const whole = `stack: plant-a
instance:
  name: plant
  install_path: deploy
  image_archive: ../image.tar.gz
  version: 1.10
  ports: {https: 8443, mqtts: 127.0.0.1:8884, http: null}
  admin_password: {env: LINE1_PASSWORD}
  registry: {server: r.example, username: u, password: {file: registry.txt}}
  trusted_ca: {file: ca.pem}
  agents: [hall-2]
  env: {LEVEL: 3}
  limits: {broker: {memory: 536870912, cpus: 1.5}}
`

func TestInstance(t *testing.T) {
	s, ds := Parse("halls/plant.yaml", []byte(whole))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	if got := s.Identity(); got.Name != "plant" || got.InstallPath != "halls/deploy" {
		t.Errorf("got %+v", got)
	}
	options, ds := s.Options(sources(map[string]string{"halls/registry.txt": "hunter22\n", "halls/ca.pem": "a certificate\n"}))
	if len(ds) > 0 || options["trusted_ca"] != "a certificate" {
		t.Fatalf("got %v, %v", options, ds)
	}
	delete(options, "trusted_ca")
	i, err := spec.DecodeInstance(options)
	if err != nil {
		t.Fatal(err)
	}
	if *i.AdminPassword != "from-LINE1_PASSWORD" || i.Registry.Password != "hunter22" || i.Registry.Server != "r.example" {
		t.Errorf("got the secrets %q, %+v", *i.AdminPassword, i.Registry)
	}
	port, closed := i.Ports[spec.PortHTTP]
	if i.Version != "1.10" || i.ImageArchive != "image.tar.gz" || !closed || port != "" || i.Ports[spec.PortHTTPS] != "8443" || i.Env["LEVEL"] != "3" {
		t.Errorf("got %+v", i)
	}
	if again, _ := s.Options(sources(nil)); again["registry"].(map[string]any)["password"] != nil {
		t.Error("what was read is kept")
	}
	if none, ds := (&Stack{}).LoadInstance(sources(nil)); none != nil || ds != nil {
		t.Errorf("got %v, %v", none, ds)
	}
}

// Each mistake within the instance has its own place, and is one finding.
func TestInstanceMistakes(t *testing.T) {
	for src, want := range map[string]string{
		"instance: x":                                                       "f.yaml:2:11: error: instance must be a map",
		"instance: {prots: {}}":                                             `f.yaml:2:12: error: unknown property "instance.prots" (did you mean "ports"?)`,
		"instance: {state: on}":                                             `f.yaml:2:19: error: instance.state cannot be "on"`,
		"instance: {state: gone}":                                           `f.yaml:2:19: error: instance.state cannot be "gone"`,
		"instance: {name: A}":                                               `f.yaml:2:18: error: cannot name an instance "A"`,
		"instance: {ports: 443}":                                            "f.yaml:2:19: error: instance.ports must be a map",
		"instance: {ports: {https: 443, mqtts: 70000}}":                     "f.yaml:2:39: error: ports.mqtts: cannot use port \"70000\"",
		"instance: {ports: {ftp: 21}}":                                      `f.yaml:2:25: error: cannot use the port name "ftp"`,
		"instance: {ports: {https: 443, mqtts: 443}}":                       "f.yaml:2:11: error: cannot use port 443 for both https and mqtts",
		"instance: {agents: [a, B]}":                                        `f.yaml:2:24: error: cannot name an agent "B"`,
		"instance: {agents: [a, a]}":                                        `f.yaml:2:11: error: cannot name two agents "a"`,
		"instance: {env: {A: a, B-C: b}}":                                   `f.yaml:2:29: error: cannot set env.B-C`,
		"instance: {limits: {broker: {memory: 1m}}}":                        `f.yaml:2:38: error: cannot limit broker to 1m`,
		"instance: {limits: {broker: {memry: 1m}}}":                         `f.yaml:2:30: error: unknown property "instance.limits.broker.memry" (did you mean "memory"?)`,
		"instance: {registry: {username: u}}":                               `f.yaml:2:22: error: cannot log in to registry`,
		"instance: {registry: {password: {file: p}}}":                       `f.yaml:2:22: error: cannot log in to registry`,
		"instance: {admin_password: 12345}":                                 "f.yaml:2:28: error: admin_password must be text, {env: NAME} or {file: PATH}",
		"instance: {admin_password: abc}":                                   "f.yaml:2:28: error: cannot set admin_password",
		"instance: {admin_password: {env: A, file: b}}":                     "f.yaml:2:28: error: admin_password must be text",
		"instance: {certificate: {file: a}}":                                "f.yaml:2:25: error: instance.certificate needs private_key",
		"instance: {certificate: a, private_key: b}":                        "f.yaml:2:25: error: cannot use certificate and private_key: they are no PEM pair",
		"instance: {trusted_ca: a}":                                         "f.yaml:2:24: error: cannot use trusted_ca: it is no PEM certificate",
		"instance: {image: 'x:1', version: '2'}":                            "f.yaml:2:11: error: cannot use image \"x:1\" and version \"2\" together",
		"instance: {wait: false}\nroles: [{name: r}]":                       "f.yaml:2:18: error: roles, users and services need an instance that is waited for",
		"instance: {ports: {https: null}}\nservices: [{id: a}]":             "f.yaml:2:27: error: roles, users and services are applied over https",
		"instance: {network_mask: 10.0.0.1/24, dns: [a], install_path: ''}": "f.yaml:2:45: error: cannot use dns \"a\"",
		"instance: {admin_password: {env: A}}\nusers: [{username: admin, password: {env: A}}]": "f.yaml:3:37: error: the password of user \"admin\" is instance.admin_password",
	} {
		_, ds := Parse("f.yaml", []byte("stack: a\n"+src+"\n"))
		var lines []string
		for _, d := range ds {
			lines = append(lines, d.String())
		}
		all := strings.Join(lines, "\n")
		if !strings.Contains(all, want) {
			t.Errorf("%s: got\n%s\nwant %s", src, all, want)
		}
		if len(ds) != 1 && !strings.Contains(src, "network_mask") {
			t.Errorf("%s: one mistake is %d findings:\n%s", src, len(ds), all)
		}
	}
}

func TestInstanceElsewhere(t *testing.T) {
	s, ds := Parse("f.yaml", []byte("stack: a\ninstance:\n  admin_password: {env: NONE}\n  certificate: {file: c.pem}\n  private_key: {file: k.pem}\n"))
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	i, ds := s.LoadInstance(sources(nil))
	if i != nil || len(ds) != 3 || ds[0].Line != 3 || ds[0].Code != "missing-variable" || ds[1].Line != 4 || ds[1].Code != "unreadable-file" {
		t.Errorf("got %v, %v", i, ds)
	}
	from := sources(map[string]string{"c.pem": "c", "k.pem": "k"})
	from.Env = func(string) (string, bool) { return "secret", true }
	if i, ds = s.LoadInstance(from); i != nil || len(ds) != 1 || !strings.Contains(ds[0].Message, "no PEM pair") || ds[0].Line != 4 {
		t.Errorf("got %v, %v", i, ds)
	}
}

// TestInstanceOptions holds that a stack has the options of spec.Instance.
func TestInstanceOptions(t *testing.T) {
	compare(t, "instance", shape.Of(&instance{}).Names(), spec.Instance{})
	compare(t, "registry", shape.Of(&registry{}).Names(), spec.Registry{})
	compare(t, "proxy", shape.Of(&proxy{}).Names(), spec.Proxy{})
	compare(t, "limits", shape.Of(&limit{}).Names(), spec.Limit{})
}

func compare(t *testing.T, what string, have []string, of any) {
	t.Helper()
	var want []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		want = append(want, name)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("%s: a stack has\n%v\nspec has\n%v", what, have, want)
	}
}

package control

import (
	"net/http"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func user(password, label string) plan.Request {
	u := spec.User{Username: "line1", PasswordLabel: label}
	if password != "" {
		u.Password = &password
	}
	return plan.Request{Users: []spec.User{u}}
}

func (i *instance) label() string {
	i.Helper()
	return decodeAs[spec.UserView](i.do(http.MethodGet, "/api/v1/users/line1", i.token, nil)).PasswordLabel
}

// changes prints what a plan changes, without what is new or goes as a whole.
func changes(p plan.Plan) string {
	var paths []string
	for _, s := range p.Steps {
		for _, c := range s.Changes {
			paths = append(paths, c.Path)
		}
	}
	return strings.Join(paths, " ")
}

func TestPasswordLabel(t *testing.T) {
	i := start(t)
	i.refused(user("", "1"), spec.Invalid, "secret itself")
	i.apply(user("secret-1", "1"))
	session := decodeAs[spec.LoginReply](i.do(http.MethodPost, "/api/v1/login", "", spec.LoginRequest{Username: "line1", Password: "secret-1"})).Token
	for name, same := range map[string]plan.Request{
		"both": user("secret-1", "1"), "label": user("", "1"), "password": user("secret-1", ""), "neither": user("", ""),
	} {
		if p := i.apply(same); !p.Empty() || i.label() != "1" {
			t.Errorf("%s: label %q, plan\n%s", name, i.label(), p)
		}
	}
	// Another label shows as another password, the same whether or not the password is sent.
	alone, both := i.planOf(user("", "2")), i.planOf(user("secret-1", "2"))
	if changes(alone) != "password password_label" || alone.Digest != both.Digest {
		t.Errorf("another label gives\n%s\n%s", alone, both)
	}
	i.refused(user("", "2"), spec.Invalid, "secret itself")
	i.apply(user("secret-1", "2"))
	if i.label() != "2" || i.do(http.MethodGet, "/api/v1/users/line1", session, nil).status == http.StatusUnauthorized {
		t.Error("a label for the same password is not kept, or ends sessions")
	}
	// Whoever writes it without a label clears that, and its owner sees so.
	i.again()
	if p := i.apply(user("secret-2", "")); changes(p) != "password password_label" || i.label() != "" {
		t.Errorf("label %q after\n%s", i.label(), p)
	}
	if p := i.planOf(user("", "2")); p.Empty() {
		t.Error("a password that somebody else wrote is not seen")
	}
	i.apply(user("secret-1", "2"))
	onCreate := user("secret-3", "3")
	onCreate.Users[0].UpdatePassword = spec.UpdateOnCreate
	if p := i.apply(onCreate); !p.Empty() || i.label() != "2" {
		t.Errorf("on_create changes\n%s", p)
	}
	i.refused(user("secret-1", strings.Repeat("x", 129)), spec.Invalid, "128")
	i.refused(user("secret-1", "a\nb"), spec.Invalid, "print")
}

const locked = `description: Something with a secret
metadata: {name: locked}
parameters:
  host: {type: string, default: 10.0.0.7}
  pin: {type: string}
resources:
  up:
    type: Cybus::Connection
    properties:
      protocol: Http
      connection: {scheme: http, host: !ref host, port: 80, prefix: !ref pin}
`

func lockedService(parameters, secret map[string]any, label string) plan.Request {
	return plan.Request{Services: []spec.Service{{ID: "locked", Commissioning: locked, Parameters: parameters, SecretParameters: secret, SecretLabel: label}}}
}

type values = map[string]any

func TestSecretParameters(t *testing.T) {
	i := start(t)
	host := values{"host": "10.0.0.8"}
	i.apply(lockedService(host, values{"pin": "first-pin"}, "1"))
	answer := i.do(http.MethodGet, "/api/v1/services/locked", i.token, nil)
	v := decodeAs[spec.ServiceView](answer)
	if strings.Contains(string(answer.body), "first-pin") || v.Parameters["pin"] != sensitiveText || v.Parameters["host"] != "10.0.0.8" {
		t.Errorf("the service is %s", answer.body)
	}
	if len(v.SecretParameters) != 1 || v.SecretParameters[0] != "pin" || v.SecretLabel != "1" {
		t.Errorf("the view is %+v", v)
	}
	for name, same := range map[string]plan.Request{
		"all": lockedService(host, values{"pin": "first-pin"}, "1"), "label alone": lockedService(host, nil, "1"),
		"no label": lockedService(host, values{"pin": "first-pin"}, ""), "nothing": lockedService(nil, nil, ""),
		"in the open": lockedService(values{"host": "10.0.0.8", "pin": "first-pin"}, nil, ""),
	} {
		if p := i.apply(same); !p.Empty() {
			t.Errorf("%s changes\n%s", name, p)
		}
	}
	i.again() // they are kept as secrets
	if p := i.planOf(lockedService(host, nil, "1")); !p.Empty() {
		t.Errorf("after a start\n%s", p)
	}
	// A plain parameter changes, the secret stays.
	if p := i.apply(lockedService(values{"host": "10.0.0.9"}, nil, "1")); strings.Contains(changes(p), "pin") {
		t.Errorf("the secret is gone:\n%s", p)
	}
	if p := i.planOf(lockedService(host, nil, "2")); !strings.Contains(changes(p), "secret_parameters secret_label") {
		t.Errorf("another label gives\n%s", p)
	}
	i.refused(lockedService(host, nil, "2"), spec.Invalid, "secret itself")
	i.refused(lockedService(values{"pin": "x-pin"}, nil, "1"), spec.Invalid, `"pin"`)
	p := i.apply(lockedService(host, values{"pin": "second-pin"}, "2"))
	if strings.Contains(p.String(), "second-pin") || i.service("locked").SecretLabel != "2" {
		t.Errorf("applied\n%s", p)
	}
}

// Somebody who writes a secret without a label clears that; a plain parameter beside it does not.
func TestSecretLabelIsCleared(t *testing.T) {
	i := start(t)
	i.apply(lockedService(nil, values{"pin": "first-pin"}, "1"))
	open := lockedService(values{"host": "10.0.0.10", "pin": "first-pin"}, nil, "")
	i.apply(open)
	if v := i.service("locked"); v.SecretLabel != "1" || v.Parameters["host"] != "10.0.0.10" {
		t.Errorf("a plain parameter gives %+v", v)
	}
	merged := plan.Request{Services: []spec.Service{{ID: "locked", Parameters: values{"host": "10.0.0.11"}, MergeParameters: true}}}
	i.apply(merged)
	if v := i.service("locked"); v.SecretLabel != "1" {
		t.Errorf("merging gives %+v", v)
	}
	open.Services[0].Parameters["pin"] = "second-pin"
	reader := i.with("reader", grant("/api/v1/services/#", spec.Read))
	if p := i.do(http.MethodPost, "/api/v1/plan", reader, open).plan(); strings.Contains(changes(p), "label") {
		t.Errorf("who may only read learns that a secret differs:\n%s", p)
	}
	i.apply(open)
	if v := i.service("locked"); v.SecretLabel != "" || v.SecretParameters != nil {
		t.Errorf("somebody else's secret gives %+v", v)
	}
	if p := i.planOf(lockedService(nil, nil, "1")); p.Empty() {
		t.Error("a secret that somebody else wrote is not seen")
	}
}

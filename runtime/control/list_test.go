package control

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/millwright/millwright/internal/plan"
	"github.com/millwright/millwright/internal/spec"
)

func TestListsRefuseWhatTheyDoNotKnow(t *testing.T) {
	i := start(t)
	for _, query := range []string{
		"cursor=%25%25", "cursor=" + base64.RawURLEncoding.EncodeToString([]byte("garbage")), "cursor=" + base64.RawURLEncoding.EncodeToString([]byte(cursorMark)),
		"limit=0", "limit=many", "fliter=a", "service=a",
	} {
		if a := i.do(http.MethodGet, "/api/v1/services?"+query, i.token, nil); a.problem(spec.Invalid).Status != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %s", query, a.body)
		}
	}
	i.do(http.MethodGet, "/api/services?page=1", i.token, nil).want(http.StatusOK) // clients that are not ours
}

func TestResourcesByServiceAndState(t *testing.T) {
	i := start(t)
	defer i.mapperOf(spec.DefaultAgent, func(r spec.Resource) spec.ResourceStatus {
		if r.ID == "speed" {
			return spec.ResourceStatus{State: spec.StateFailed, Error: "no such address"}
		}
		return running(r)
	})()
	i.apply(plan.Request{Services: append(install("press", press).Services, install("oven", press).Services...)})
	for query, want := range map[string][]string{
		"":                            {"oven::speed", "oven::temp", "press::speed", "press::temp"},
		"?service=press":              {"press::speed", "press::temp"},
		"?state=failed":               {"oven::speed", "press::speed"},
		"?state=failed&service=oven":  {"oven::speed"},
		"?filter=temp&service=press":  {"press::temp"},
		"?state=pending&service=oven": nil,
	} {
		var keys []string
		for _, s := range decodeAs[spec.Page[spec.ResourceStatus]](i.do(http.MethodGet, "/api/v1/endpoints"+query, i.token, nil)).Items {
			keys = append(keys, s.Key())
		}
		if !slices.Equal(keys, want) {
			t.Errorf("%q lists %v", query, keys)
		}
	}
}

// headed sends a request with one more header.
func (i *instance) headed(method, path, name, value, body string) answer {
	i.Helper()
	request, err := http.NewRequestWithContext(i.Context(), method, i.server.URL+path, strings.NewReader(body))
	if err != nil {
		i.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+i.token)
	request.Header.Set(name, value)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		i.Fatal(err)
	}
	return read(i.T, response)
}

func TestPreconditions(t *testing.T) {
	i := start(t)
	i.apply(plan.Request{Roles: []spec.Role{{Name: "a"}}})
	i.apply(install("press", press))
	const wide = `{"permissions": [{"resource": "a", "operation": "read", "context": "mqtt"}]}`
	tag := i.do(http.MethodGet, "/api/v1/roles/a", i.token, nil).header.Get("ETag")
	if a := i.headed(http.MethodGet, "/api/v1/roles/a", "If-None-Match", tag, "").want(http.StatusNotModified); len(a.body) != 0 || a.header.Get("ETag") != tag {
		t.Errorf("unchanged, it answers %v %s", a.header, a.body)
	}
	i.headed(http.MethodPut, "/api/v1/roles/a", "If-Match", `"0", `+tag, wide).want(http.StatusOK)
	i.headed(http.MethodGet, "/api/v1/roles/a", "If-None-Match", tag, "").want(http.StatusOK)
	for _, method := range []string{http.MethodPut, http.MethodDelete} {
		a := i.headed(method, "/api/v1/roles/a", "If-Match", tag, `{"permissions": []}`)
		if p := a.problem(spec.Conflict); p.Status != http.StatusPreconditionFailed || !strings.Contains(p.Detail, "If-Match") {
			t.Errorf("%s answers %+v", method, p)
		}
	}
	i.headed(http.MethodPut, "/api/v1/roles/new", "If-Match", "*", wide).problem(spec.Conflict)
	i.headed(http.MethodDelete, "/api/v1/roles/a", "If-Match", "*", "").want(http.StatusNoContent)

	service := i.do(http.MethodGet, "/api/v1/services/press", i.token, nil).header.Get("ETag")
	i.headed(http.MethodGet, "/api/v1/services/press", "If-None-Match", service, "").want(http.StatusOK) // its state moves without a revision
	i.headed(http.MethodDelete, "/api/v1/services/press", "If-Match", `"1"`, "").problem(spec.Conflict)
	i.headed(http.MethodDelete, "/api/v1/services/press", "If-Match", service, "").want(http.StatusNoContent)
}

// A service that does not run is still somebody at the broker, who cannot log in; a deleted one is nobody,
// and one that is installed anew somebody else.
func TestServicesAtTheBroker(t *testing.T) {
	i := start(t)
	seen := func() spec.Identity { return i.control.identities.values["service:press"] }
	i.apply(install("press", press))
	runs := seen()
	if runs.Home != "services/press/#" || runs.Born == "" || len(runs.Credentials) == 0 {
		t.Errorf("it is %+v", runs)
	}
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Disabled}}})
	if off := seen(); off.Home != runs.Home || off.Born != runs.Born || len(off.Credentials)+len(off.Permissions) != 0 {
		t.Errorf("disabled it is %+v", off)
	}
	i.apply(plan.Request{Services: []spec.Service{{ID: "press", State: spec.Absent}}})
	if gone := seen(); gone.Name != "" {
		t.Errorf("deleted it is %+v", gone)
	}
	i.apply(install("press", press))
	if again := seen(); again.Born == runs.Born {
		t.Error("installed anew it is the same")
	}
}

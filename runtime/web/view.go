package web

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millwright/millwright/internal/spec"
)

// How much one answer shows; links lead to the rest.
const (
	servicesPerPage = 50
	rowsPerService  = 50 // in the overview
	rowsPerPage     = 400
	shownDeviations = 10
)

// view is what the page's template shows.
type view struct {
	Version  string
	User     string
	Now      time.Time
	Whole    bool // all services are among those that this user may see
	Total    int  // services that this user may see
	Deviated int
	Services []serviceView
	One      bool // a single service is shown
	Pages    pages

	session Session
	values  *values
	all     []spec.ServiceView
}

// serviceView is one service and the resources that are shown of it.
type serviceView struct {
	spec.ServiceView
	Shown      []deviationView
	More       int  // deviations that are not shown
	Hidden     bool // this user may not see the resources
	Rows       []row
	Unshown    int // resources that are not among the rows
	Everything string
}

type deviationView struct {
	What, State, Error, Age string
	Since                   time.Time
}

// row is one resource.
type row struct {
	Key, ID, Type string
	State         string
	Off           bool // it is not where it should be
	Error         string
	Topic         string
	Value         shown
	Hidden        bool // this user may not read the value
	Waiting       bool // an endpoint without a value
	Age           string
}

// pages are the links to what one answer does not hold.
type pages struct {
	Number, Count    int
	Previous, Follow string
}

// look reads what a user may see; overview or one chooses of it.
func (p *Page) look(s Session, now time.Time) *view {
	v := &view{Version: p.opts.Version, User: s.User(), Now: now, session: s, values: p.values}
	v.all, v.Whole = s.Services()
	v.Total = len(v.all)
	for _, service := range v.all {
		if service.State == stateDeviated {
			v.Deviated++
		}
	}
	return v
}

const stateDeviated = "deviated"

// overview shows the services, the deviated ones first, with the first resources of each.
func (v *view) overview(number int) {
	slices.SortStableFunc(v.all, func(a, b spec.ServiceView) int {
		return cmp.Compare(rank(a.State == stateDeviated), rank(b.State == stateDeviated))
	})
	var from, to int
	v.Pages, from, to = paged(len(v.all), servicesPerPage, number, url.Values{})
	for _, service := range v.all[from:to] {
		s, rows := v.service(service)
		s.Rows = v.shownRows(rows[:min(len(rows), rowsPerService)])
		s.Unshown = len(rows) - len(s.Rows)
		v.Services = append(v.Services, s)
	}
}

// one shows a single service with all its resources; false if this user sees none of that name.
func (v *view) one(id string, number int) bool {
	i := slices.IndexFunc(v.all, func(s spec.ServiceView) bool { return s.ID == id })
	if i < 0 {
		return false
	}
	v.One = true
	s, rows := v.service(v.all[i])
	var from, to int
	v.Pages, from, to = paged(len(rows), rowsPerPage, number, url.Values{"service": {id}})
	s.Rows = v.shownRows(rows[from:to])
	v.Services = []serviceView{s}
	return true
}

// paged cuts n things into pages; a number behind the last stands for the last.
func paged(n, size, number int, query url.Values) (p pages, from, to int) {
	p.Count = max(1, (n+size-1)/size)
	p.Number = min(number, p.Count)
	link := func(number int) string {
		if number < 1 || number > p.Count {
			return ""
		}
		query.Set("page", strconv.Itoa(number))
		return "?" + query.Encode()
	}
	p.Previous, p.Follow = link(p.Number-1), link(p.Number+1)
	from = (p.Number - 1) * size
	return p, from, min(from+size, n)
}

// rank puts what is true before what is not.
func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// service returns a service without its rows, and its resources in the order of the rows:
// what is not where it should be first, then connections, endpoints, mappings and the rest.
func (v *view) service(service spec.ServiceView) (serviceView, []spec.ResourceStatus) {
	s := serviceView{ServiceView: service, Everything: "?" + url.Values{"service": {service.ID}}.Encode()}
	for _, d := range service.Deviations[:min(len(service.Deviations), shownDeviations)] {
		s.Shown = append(s.Shown, deviationView{
			What: strings.TrimPrefix(d.Address, "service/"+service.ID+"/"), State: d.State, Error: d.Error, Age: age(v.Now, d.Since), Since: d.Since,
		})
	}
	s.More = len(service.Deviations) - len(s.Shown)
	all, ok := v.session.Resources(service.ID)
	s.Hidden = !ok
	slices.SortStableFunc(all, func(a, b spec.ResourceStatus) int {
		return cmp.Or(cmp.Compare(rank(off(a)), rank(off(b))), cmp.Compare(order(a.Type), order(b.Type)))
	})
	return s, all
}

// off reports whether a resource is not where it should be. What no mapper reports has no state.
func off(s spec.ResourceStatus) bool { return s.State != "" && !s.OnTarget }

func order(typ string) int {
	types := []string{"Connection", "Endpoint", "Mapping"}
	if i := slices.Index(types, typ); i >= 0 {
		return i
	}
	return len(types)
}

func (v *view) shownRows(all []spec.ResourceStatus) []row {
	rows := make([]row, 0, len(all))
	for _, s := range all {
		r := row{
			Key: s.Key(), ID: s.ID, Type: strings.ToLower(s.Type), State: cmp.Or(s.State, "not running"), Off: off(s), Error: s.Error, Topic: s.Topic,
		}
		if s.Type == "Endpoint" && s.Topic != "" {
			v.lastValue(&r)
		}
		rows = append(rows, r)
	}
	return rows
}

// lastValue adds an endpoint's last value, if this user may read it.
func (v *view) lastValue(r *row) {
	if r.Hidden = !v.session.MayRead(r.Topic); r.Hidden {
		return
	}
	last, ok := v.values.get(r.Topic)
	if !ok {
		r.Waiting = true
		return
	}
	r.Value = last.show()
	r.Age = age(v.Now, r.Value.At)
}

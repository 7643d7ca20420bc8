package control

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/millwright/millwright/internal/spec"
)

// listInput is what all lists take.
type listInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200" doc:"Most items of one answer."`
	Cursor string `query:"cursor" doc:"Where the last answer ended; as it was given."`
	Filter string `query:"filter" doc:"Only items whose id contains this text."`
}

type listOutput[T any] struct {
	ETag string `header:"ETag"`
	Body spec.Page[T]
}

// page cuts one answer out of the ids, which are sorted, and makes the views of its items
// alone. The cursor is the last id of the answer, so that what is added or deleted between
// two answers moves nothing else.
func page[T any](in *listInput, revision int64, ids []string, view func(id string) (T, bool)) (*listOutput[T], error) {
	after, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot list from cursor %q: it is none of ours", in.Cursor)
	}
	out := &listOutput[T]{ETag: etag(revision), Body: spec.Page[T]{Items: []T{}}}
	last := ""
	for _, id := range ids {
		if string(after) != "" && id <= string(after) || !strings.Contains(id, in.Filter) {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.Cursor = base64.RawURLEncoding.EncodeToString([]byte(last))
			return out, nil
		}
		if item, ok := view(id); ok {
			out.Body.Items = append(out.Body.Items, item)
			last = id
		}
	}
	return out, nil
}

func sortedKeys[V any](maps ...map[string]V) []string {
	var keys []string
	for _, m := range maps {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// idInput names one object.
type idInput struct {
	ID string `path:"id" doc:"The object's id or name."`
}

// putInput is a whole object under its id.
type putInput struct {
	ID      string `path:"id" doc:"The object's id or name."`
	RawBody []byte `contentType:"application/json"`
}

type oneOutput[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func notFound(kind, id string) error {
	return spec.Errorf(spec.NotFound, "cannot find %s %q", kind, id)
}

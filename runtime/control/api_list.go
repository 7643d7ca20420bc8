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
	after, err := readCursor(in.Cursor)
	if err != nil {
		return nil, err
	}
	out := &listOutput[T]{ETag: etag(revision), Body: spec.Page[T]{Items: []T{}}}
	last := ""
	for _, id := range ids {
		if after != "" && id <= after || !strings.Contains(id, in.Filter) {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.Cursor = cursorAfter(last)
			return out, nil
		}
		if item, ok := view(id); ok {
			out.Body.Items = append(out.Body.Items, item)
			last = id
		}
	}
	return out, nil
}

// cursorMark begins what a cursor encodes, so that what is none of ours is told.
const cursorMark = "after "

func cursorAfter(id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorMark + id))
}

// readCursor returns the id behind which a list goes on; empty: it begins.
func readCursor(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	id, ours := strings.CutPrefix(string(text), cursorMark)
	if err != nil || !ours || id == "" {
		return "", spec.Errorf(spec.Invalid, "cannot list from cursor %q: it is none of ours", cursor)
	}
	return id, nil
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

// deleteInput names an object that goes.
type deleteInput struct {
	ID      string `path:"id" doc:"The object's id or name."`
	IfMatch string `header:"If-Match" doc:"An ETag of the object: with 412 it has another by now."`
}

// putInput is a whole object under its id.
type putInput struct {
	ID      string `path:"id" doc:"The object's id or name."`
	IfMatch string `header:"If-Match" doc:"An ETag of the object: with 412 it has another by now."`
	RawBody []byte `contentType:"application/json"`
}

type oneOutput[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

func notFound(kind, id string) error {
	return spec.Errorf(spec.NotFound, "cannot find %s %q", kind, id)
}

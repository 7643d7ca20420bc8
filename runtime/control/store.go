package control

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the database driver "sqlite"

	"github.com/millwright/millwright/internal/spec"
)

// storeFile is the database's name in the data directory.
const storeFile = "control.db"

//go:embed migrations/*.sql
var migrations embed.FS

// store is the database. What is acknowledged is on disk: WAL with synchronous=FULL.
type store struct {
	db   *sql.DB
	path string
	key  []byte
	id   string // random, made with the database, and anew where a copy was put back
}

// openStore opens or makes dir/control.db and brings it to this build's schema. A file that
// is no database, is damaged, was written by a newer build or belongs to another key is an
// error, and is left as it is.
func openStore(ctx context.Context, dir string, key []byte) (*store, error) {
	if len(key) != 32 {
		return nil, spec.Errorf(spec.Internal, "cannot open the store with a key of %d bytes: it takes 32", len(key))
	}
	path, err := filepath.Abs(filepath.Join(dir, storeFile))
	if err != nil {
		return nil, spec.Errorf(spec.Invalid, "cannot open the store in %q: %w", dir, err)
	}
	db, err := sql.Open("sqlite", dataSource(path))
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot open %q: %w", path, err)
	}
	db.SetMaxOpenConns(1) // one writer; readers have the memory
	s := &store{db: db, path: path, key: key}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func dataSource(path string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path)}
	q := url.Values{}
	for _, pragma := range []string{"busy_timeout(5000)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)"} {
		q.Add("_pragma", pragma)
	}
	q.Add("_txlock", "immediate")
	u.RawQuery = q.Encode()
	return u.String()
}

// prepare checks the file before anything is written to it.
func (s *store) prepare(ctx context.Context) error {
	provider, err := s.migrations()
	if err != nil {
		return err
	}
	made, err := s.isNew()
	if err != nil {
		return err
	}
	if !made {
		if err := s.check(ctx, provider); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return s.broken(err)
	}
	if err := os.Chmod(s.path, 0o600); err != nil {
		return spec.Errorf(spec.Invalid, "cannot keep %q to its owner: %w", s.path, err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return spec.Errorf(spec.Internal, "cannot bring the database %q to this release's format: %w", s.path, err)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	return s.renew(ctx)
}

// restoredMark is a file that whoever puts the database back from a copy leaves beside it.
const restoredMark = "restored"

// renew gives a database that was put back another name: those that watched it before have seen
// revisions that are others now, and must not go on from there. The mark goes last, so that a
// start that is cut short does it again.
func (s *store) renew(ctx context.Context) error {
	mark := filepath.Join(filepath.Dir(s.path), restoredMark)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return spec.Errorf(spec.Invalid, "cannot see whether the store was restored: %w", err)
	}
	id := newStoreName()
	if _, err := s.db.ExecContext(ctx, "UPDATE meta SET store = ?", id); err != nil {
		return s.broken(err)
	}
	s.id = id
	if err := os.Remove(mark); err != nil {
		return spec.Errorf(spec.Invalid, "cannot note that the store is in use again: %w", err)
	}
	return nil
}

func newStoreName() string {
	var random [8]byte
	rand.Read(random[:])
	return hex.EncodeToString(random[:])
}

func (s *store) isNew() (bool, error) {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, spec.Errorf(spec.Invalid, "cannot open %q: %w", s.path, err)
	}
	return info.Size() == 0, nil
}

// check reads the whole file once, since it is small, and refuses what this build must not
// touch: a damaged file, one of a newer release, one that another key belongs to.
func (s *store) check(ctx context.Context, provider *goose.Provider) error {
	var result string
	if err := s.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return s.broken(err)
	}
	if result != "ok" {
		return s.broken(errors.New(result))
	}
	have, want, err := s.versions(ctx, provider)
	switch {
	case err != nil:
		return err
	case have > want:
		return spec.Errorf(spec.Invalid, "cannot use the database %q: its format %d was written by a newer release, this one knows %d", s.path, have, want).
			WithHint("nothing was changed; run the newer release, or put a backup in its place")
	case have == 0:
		return nil
	}
	return s.identify(ctx)
}

// broken keeps to one line, whatever the library says.
func (s *store) broken(err error) error {
	why := strings.Join(strings.Fields(err.Error()), " ")
	return spec.Errorf(spec.Invalid, "cannot use the database %q: it is damaged: %s", s.path, why).
		WithHint("nothing was changed; put a backup in its place, or move it away to begin anew")
}

func (s *store) migrations() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read the migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, spec.Errorf(spec.Internal, "cannot read the migrations: %w", err)
	}
	return provider, nil
}

// versions returns the schema's version in the file, 0 for a new one, and this build's. It
// asks without writing, as goose itself would not.
func (s *store) versions(ctx context.Context, provider *goose.Provider) (have, want int64, err error) {
	sources := provider.ListSources()
	want = sources[len(sources)-1].Version
	var tables int
	err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'goose_db_version'").Scan(&tables)
	if err == nil && tables > 0 {
		err = s.db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&have)
	}
	if err != nil {
		return 0, 0, s.broken(err)
	}
	return have, want, nil
}

// identify reads the store's random name, or gives it one, and checks the key.
func (s *store) identify(ctx context.Context) error {
	var check []byte
	err := s.db.QueryRowContext(ctx, "SELECT store, key_check FROM meta").Scan(&s.id, &check)
	if errors.Is(err, sql.ErrNoRows) {
		s.id = newStoreName()
		_, err = s.db.ExecContext(ctx, "INSERT INTO meta (id, store, revision, key_check) VALUES (1, ?, 0, ?)", s.id, s.keyCheck())
		check = s.keyCheck()
	}
	if err != nil {
		return s.broken(err)
	}
	if !hmac.Equal(check, s.keyCheck()) {
		return spec.Errorf(spec.Invalid, "cannot use the database %q: it was written with another secrets.key", s.path).
			WithHint("put back the secrets.key that belongs to it")
	}
	return nil
}

func (s *store) keyCheck() []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte("millwright control store"))
	return mac.Sum(nil)
}

func (s *store) close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("cannot close %q: %w", s.path, err)
	}
	return nil
}

// mutate runs change in one transaction that also raises the revision, which it returns.
func (s *store) mutate(ctx context.Context, change func(tx *transaction) error) (int64, error) {
	return s.within(ctx, true, change)
}

// touch runs change in one transaction without raising the revision: sessions come and go
// without the desired state moving.
func (s *store) touch(ctx context.Context, change func(tx *transaction) error) error {
	_, err := s.within(ctx, false, change)
	return err
}

func (s *store) within(ctx context.Context, raise bool, change func(tx *transaction) error) (int64, error) {
	sqlTx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, s.failed(err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // after Commit there is nothing to roll back
	tx := &transaction{ctx: ctx, tx: sqlTx, store: s}
	if raise {
		row := sqlTx.QueryRowContext(ctx, "UPDATE meta SET revision = revision + 1 RETURNING revision")
		if err := row.Scan(&tx.revision); err != nil {
			return 0, s.failed(err)
		}
	}
	if err := change(tx); err != nil {
		return 0, err
	}
	if err := sqlTx.Commit(); err != nil {
		return 0, s.failed(err)
	}
	return tx.revision, nil
}

// failed tells a full disk and the like from what the caller did.
func (s *store) failed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return spec.Errorf(spec.Unavailable, "cannot write to the store: %w", err)
	}
	text := strings.TrimSpace(err.Error())
	return spec.Errorf(spec.Unavailable, "cannot write to the store %q: %s", s.path, text)
}

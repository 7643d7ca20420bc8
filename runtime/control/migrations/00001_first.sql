-- +goose Up
CREATE TABLE meta (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  store     TEXT    NOT NULL, -- random, made with the database
  revision  INTEGER NOT NULL,
  key_check BLOB    NOT NULL  -- tells whether secrets.key is the one that content was sealed with
) STRICT;

CREATE TABLE roles (
  name        TEXT PRIMARY KEY,
  owner       TEXT NOT NULL,
  permissions TEXT NOT NULL, -- JSON
  revision    INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
  name        TEXT PRIMARY KEY,
  owner       TEXT NOT NULL,
  password    TEXT NOT NULL, -- hash; empty: none
  roles       TEXT NOT NULL, -- JSON
  permissions TEXT NOT NULL, -- JSON
  grants      TEXT NOT NULL, -- JSON
  revision    INTEGER NOT NULL
) STRICT;

CREATE TABLE services (
  id         TEXT PRIMARY KEY,
  owner      TEXT NOT NULL,
  enabled    INTEGER NOT NULL,
  generation INTEGER NOT NULL, -- raised by a restart
  content    BLOB NOT NULL,    -- sealed JSON: source, parameters, the service's own secret
  revision   INTEGER NOT NULL,
  updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE tokens (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL,
  username    TEXT NOT NULL,
  hash        TEXT NOT NULL UNIQUE,
  permissions TEXT NOT NULL,    -- JSON; an empty list: all of the user's
  created_at  TEXT NOT NULL,
  expires_at  TEXT NOT NULL,    -- empty: never
  used_at     TEXT NOT NULL,    -- empty: not yet
  extend      INTEGER NOT NULL  -- seconds by which a use puts off the expiry; 0: not at all
) STRICT;

CREATE INDEX tokens_username ON tokens (username);

-- +goose Down
DROP TABLE tokens;
DROP TABLE services;
DROP TABLE users;
DROP TABLE roles;
DROP TABLE meta;

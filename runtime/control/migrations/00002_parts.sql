-- +goose Up
CREATE TABLE parts (
  name       TEXT PRIMARY KEY,
  key        TEXT NOT NULL, -- digest of the public key that its certificates are for
  credential TEXT NOT NULL, -- hash of the secret that it logs in with at the broker
  joined_at  TEXT NOT NULL
) STRICT;

CREATE TABLE join_tokens (
  hash       TEXT PRIMARY KEY,
  part       TEXT NOT NULL,
  expires_at TEXT NOT NULL, -- empty: never
  spent_by   TEXT NOT NULL  -- digest of the public key that it was traded for; empty: not yet; "-": revoked
) STRICT;

-- +goose Down
DROP TABLE join_tokens;
DROP TABLE parts;

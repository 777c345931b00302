CREATE TABLE usage (
    day date NOT NULL,
    name text NOT NULL, -- of the user; empty for all clients together that are not authorized users
    messages bigint NOT NULL,
    calls bigint NOT NULL,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    estimated_tokens bigint NOT NULL, -- the part of both that no server has counted
    PRIMARY KEY (day, name)
);

-- The last batch of changes that each daemon has saved, so that none is added twice if a COMMIT was not confirmed.
CREATE TABLE daemon (
    id uuid PRIMARY KEY, -- of one process
    batch bigint NOT NULL,
    seen date NOT NULL
);

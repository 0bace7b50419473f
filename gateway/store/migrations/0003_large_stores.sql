-- What is asked for every message sent or looked at, found without walking through all that were ever sent.

DROP INDEX messages_queue;
CREATE INDEX messages_waiting ON messages (session_id, chat, seq) WHERE direction = 'out' AND stage <> 'done';
CREATE INDEX messages_order   ON messages (session_id, seq) WHERE direction = 'out' AND stage <> 'done';
CREATE INDEX messages_sending ON messages (session_id, seq) WHERE direction = 'out' AND stage = 'sending';
CREATE INDEX messages_overdue ON messages (created_at, stage, session_id) WHERE direction = 'out' AND stage <> 'done';
DROP INDEX messages_sent;
CREATE INDEX messages_handed  ON messages (session_id, handed_at) WHERE direction = 'out' AND sent_at IS NOT NULL;
CREATE INDEX messages_session ON messages (owner, session_id, seq);
CREATE INDEX messages_chat    ON messages (owner, chat, seq);
CREATE INDEX messages_status  ON messages (owner, status, seq);
CREATE INDEX messages_done    ON messages (created_at) WHERE stage = 'done';
CREATE INDEX journal_at       ON journal (at);

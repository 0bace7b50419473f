-- What is looked at often and is few among many: a webhook's line of deliveries, and sent messages nobody has got yet.

CREATE INDEX deliveries_line ON deliveries (webhook_id, chat, seq) WHERE status <> 'delivered';
DROP INDEX deliveries_due;
CREATE INDEX deliveries_order ON deliveries (webhook_id, seq) WHERE status <> 'delivered';
CREATE INDEX messages_late ON messages (sent_at) WHERE direction = 'out' AND status = 'sent' AND late_told = 0;

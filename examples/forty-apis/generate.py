#!/usr/bin/env python3
"""Writes the fifteen teams of this example: 40 apis, three versions each, one file and a folder of documents a team.

Run it in this folder. It writes the same files every time; change it rather than them.
"""

import pathlib
import shutil

# Each team with its apis, each api with the singular of what it manages and the actions on one of them.
TEAMS = {
    "accounts": [("accounts", "account", ["close", "freeze"]), ("balances", "balance", ["recompute"]),
                 ("statements", "statement", ["resend"])],
    "payments": [("payments", "payment", ["cancel", "capture"]), ("mandates", "mandate", ["revoke"]),
                 ("requests-to-pay", "request", ["remind"])],
    "cards": [("cards", "card", ["block", "replace"]), ("card-limits", "limit", ["reset"]),
              ("authorisations", "authorisation", ["reverse"])],
    "ledger": [("ledgers", "ledger", ["lock"]), ("entries", "entry", ["reverse"]), ("journals", "journal", ["post"])],
    "fx": [("rates", "rate", ["pin"]), ("quotes", "quote", ["accept"]), ("conversions", "conversion", ["cancel"])],
    "lending": [("loans", "loan", ["disburse", "settle"]), ("instalments", "instalment", ["defer"]),
                ("offers", "offer", ["accept"])],
    "onboarding": [("applications", "application", ["submit"]), ("customers", "customer", ["suspend"]),
                   ("documents", "document", ["verify"])],
    "risk": [("assessments", "assessment", ["repeat"]), ("rules", "rule", ["enable"]), ("alerts", "alert", ["dismiss"])],
    "reporting": [("reports", "report", ["run"]), ("exports", "export", ["retry"]), ("schedules", "schedule", ["pause"])],
    "merchants": [("merchants", "merchant", ["activate"]), ("stores", "store", ["close"]),
                  ("terminals", "terminal", ["restart"])],
    "payouts": [("payouts", "payout", ["cancel"]), ("beneficiaries", "beneficiary", ["verify"])],
    "disputes": [("disputes", "dispute", ["accept", "defend"]), ("evidence", "item", ["submit"])],
    "identity": [("identities", "identity", ["verify"]), ("devices", "device", ["forget"])],
    "treasury": [("transfers", "transfer", ["approve"]), ("positions", "position", ["close"])],
    "notifications": [("subscriptions", "subscription", ["pause"]), ("messages", "message", ["resend"])],
}

MAIN = """\
# Forty apis of fifteen teams. Each team owns its file; this one holds what they share.
# The teams' files are made by `generate.py`.

include: [teams/*/mainstay.yaml]

server:
  listen: 127.0.0.1:8080
  health_path: /healthz

classes:
  read: { auth: none, body: 0B, timeouts: { total: 5s } }
  write: { auth: none, body: 64KiB, timeouts: { total: 8s } }
  slow: { auth: none, body: 64KiB, timeouts: { attempt: 20s, total: 25s } }

upstream_defaults:
  timeouts: { connect: 500ms }
"""


def camel(text):
    return "".join(word.capitalize() for word in text.split("-"))


def document(api, one, actions, version):
    """One OpenAPI document. Later versions have more operations, and pages from v2 on."""
    things, thing = camel(api), camel(one)
    fields = ["id: { type: string }", "created_at: { type: string, format: date-time }", "status: { type: string }"]
    if version > 1:
        fields.append("reference: { type: string, maxLength: 64 }")
    if version > 2:
        fields.append("labels: { type: array, items: { type: string } }")
    lines = [
        "openapi: 3.1.0",
        "info:",
        f"  title: {things}",
        f"  version: {version}.0.0",
        "servers:",
        f"  - url: https://api.example.com/{api}/v{version}",
        "paths:",
        f"  /{api}:",
        "    get:",
        f"      operationId: list{things}",
        f"      summary: List {api}, newest first",
    ]
    if version > 1:
        lines += ["      parameters:", "        - { name: cursor, in: query, schema: { type: string } }"]
    lines += [
        "      responses:",
        "        '200':",
        "          description: A page.",
        "          content:",
        "            application/json:",
        f"              schema: {{ type: array, items: {{ $ref: '#/components/schemas/{thing}' }} }}",
        "    post:",
        f"      operationId: create{thing}",
        f"      summary: Make a new one",
        "      requestBody:",
        "        required: true",
        "        content:",
        "          application/json:",
        f"            schema: {{ $ref: '#/components/schemas/{thing}' }}",
        "      responses:",
        "        '201': { description: It was made. }",
        f"  /{api}/{{id}}:",
        "    parameters:",
        "      - { name: id, in: path, required: true, schema: { type: string } }",
        "    get:",
        f"      operationId: get{thing}",
        "      summary: Read one",
        "      responses:",
        "        '200':",
        "          description: It is this one.",
        "          content:",
        "            application/json:",
        f"              schema: {{ $ref: '#/components/schemas/{thing}' }}",
    ]
    if version > 1:
        lines += [
            "    patch:",
            f"      operationId: update{thing}",
            "      summary: Change one",
            "      responses:",
            "        '200': { description: It was changed. }",
        ]
    if version > 2:
        lines += [
            f"  /{api}/{{id}}/history:",
            "    get:",
            f"      operationId: get{thing}History",
            "      summary: What happened to one",
            "      responses:",
            "        '200': { description: The history. }",
        ]
    for action in actions:
        lines += [
            f"  /{api}/{{id}}:{action}:",
            "    post:",
            f"      operationId: {action}{thing}",
            f"      summary: {action.capitalize()} one",
            "      responses:",
            "        '202': { description: It is under way. }",
        ]
    lines += ["components:", "  schemas:", f"    {thing}:", "      type: object", "      properties:"]
    lines += [f"        {field}" for field in fields]
    return "\n".join(lines) + "\n"


def team_file(team, apis, number):
    port = 10_000 + number * 10
    lines = [
        f"# Of team {team}.",
        "",
        "upstreams:",
        f"  {team}:",
        f"    endpoints: [http://127.0.0.1:{port}, http://127.0.0.1:{port + 1}]",
        f"  {team}-next:",
        f"    endpoints: [http://127.0.0.1:{port + 2}]",
        "",
        "apis:",
    ]
    for index, (api, one, actions) in enumerate(apis):
        thing = camel(one)
        month = (number + index) % 6 + 1
        lines += [
            f"  {api}:",
            f"    owner: team-{team}",
            f"    base_path: /{api}",
            "    versions:",
            "      v1:",
            f"        openapi: openapi/{api}-v1.yaml",
            f"        upstream: {team}",
            "        lifecycle:",
            f"          deprecated: 2026-{month:02}-01",
            f"          sunset: 2027-{month:02}-01",
            "          successor: v2",
            f"          guide: https://developers.example.com/{api}/v1-to-v2",
            "      v2:",
            f"        openapi: openapi/{api}-v2.yaml",
            f"        upstream: {team}",
            "      v3:",
            f"        openapi: openapi/{api}-v3.yaml",
            f"        upstream: {team}-next",
            "    operations:",
            f"      list{camel(api)}: {{ class: read }}",
            f"      create{thing}: {{ class: write }}",
            f"      get{thing}: {{ class: read }}",
            f"      update{thing}: {{ class: write, versions: [v2, v3] }}",
            f"      get{thing}History: {{ class: read, versions: v3 }}",
        ]
        lines += [f"      {action}{thing}: {{ class: slow }}" for action in actions]
    return "\n".join(lines) + "\n"


def main():
    here = pathlib.Path(__file__).parent
    (here / "mainstay.yaml").write_text(MAIN)
    shutil.rmtree(here / "teams", ignore_errors=True)
    for number, (team, apis) in enumerate(TEAMS.items()):
        folder = here / "teams" / team
        (folder / "openapi").mkdir(parents=True)
        (folder / "mainstay.yaml").write_text(team_file(team, apis, number))
        for api, one, actions in apis:
            for version in (1, 2, 3):
                path = folder / "openapi" / f"{api}-v{version}.yaml"
                path.write_text(document(api, one, actions, version))


if __name__ == "__main__":
    main()

# RabbitMQ and Cassandra for the tests: given by the caller, or installed and started here.
#
# Given: KINDRED_TEST_AMQP_URL with KINDRED_TEST_AMQP_MANAGEMENT (a user that may make virtual
# hosts and users), KINDRED_TEST_CQL_NODES (with KINDRED_TEST_CQL_USER and
# KINDRED_TEST_CQL_PASSWORD where it asks for one; a role that may make keyspaces and roles).
# Started here: private instances on free ports, data in a temporary directory, gone at the end.

SERVICES_READY=no
# Whether tests may kill and restart them: only our own.
CONTROLS_READY=no
# Whether the publisher in Python can run.
PIKA_READY=no
PIKA_VERSION=1.4.4
SERVICES_DIR=
INSTALL_TIMEOUT_S=1200
CASSANDRA_JARS=$ROOT/target/cassandra-jars
export CASSANDRA_JARS

# as_root COMMAND...
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    echo "tests/run: not root, and no sudo without a password, for: $*" >&2
    return 1
  fi
}

# install_packages PACKAGE...: from Debian, without starting what they bring.
install_packages() {
  local policy=/usr/sbin/policy-rc.d own_policy=no status=0
  command -v apt-get >/dev/null || {
    echo "tests/run: no apt-get here; please install $*" >&2
    return 1
  }
  if [ ! -e "$policy" ]; then
    # 101: no service may be started.
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null || return 1
    as_root chmod 755 "$policy"
    own_policy=yes
  fi
  as_root timeout "$INSTALL_TIMEOUT_S" apt-get update -q || true
  as_root env DEBIAN_FRONTEND=noninteractive timeout "$INSTALL_TIMEOUT_S" \
    apt-get install -y -q --no-install-recommends "$@" || status=$?
  [ "$own_policy" = no ] || as_root rm -f "$policy"
  return $status
}

# Java 11 or 17, which is what Cassandra 5 runs on.
find_java() {
  local java
  for java in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] || continue
    "$java" -version 2>&1 | head -n 1 | grep -Eq '"(11|17)[.".]' || continue
    echo "$java"
    return
  done
  return 1
}

has_rabbitmq() {
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && command -v epmd >/dev/null
}

install_rabbitmq() {
  has_rabbitmq && return
  install_packages rabbitmq-server && has_rabbitmq
}

# Cassandra's jars, as tests/services/cassandra/pom.xml names them.
install_cassandra() {
  local pom=$ROOT/tests/services/cassandra/pom.xml missing=() version
  find_java >/dev/null || missing+=(openjdk-17-jre-headless)
  version=$(cksum <"$pom")
  if [ "$(cat "$CASSANDRA_JARS/.complete" 2>/dev/null)" != "$version" ]; then
    command -v mvn >/dev/null || missing+=(maven)
  fi
  if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}" || return 1
  fi
  [ "$(cat "$CASSANDRA_JARS/.complete" 2>/dev/null)" = "$version" ] && return
  rm -rf "$CASSANDRA_JARS"
  timeout "$INSTALL_TIMEOUT_S" mvn -B -q -f "$pom" dependency:copy-dependencies \
    -DincludeScope=runtime "-DoutputDirectory=$CASSANDRA_JARS" || return 1
  echo "$version" >"$CASSANDRA_JARS/.complete"
}

# pika, in an environment of its own.
install_pika() {
  local own=$ROOT/target/pika
  [ -e "$own/.$PIKA_VERSION" ] && return
  command -v python3 >/dev/null || install_packages python3 || return 1
  rm -rf "$own"
  # Debian keeps the module that makes environments in a package of its own.
  python3 -m venv "$own" || { install_packages python3-venv && python3 -m venv "$own"; } || return 1
  timeout "$INSTALL_TIMEOUT_S" "$own/bin/pip" install --quiet --disable-pip-version-check \
    "pika==$PIKA_VERSION" || return 1
  touch "$own/.$PIKA_VERSION"
}

# control NAME SCRIPT: a command of one word that starts, stops and kills the instance.
control() {
  printf '#!/bin/sh\nexec %q %q "$@"\n' "$2" "$SERVICES_DIR/$1" >"$SERVICES_DIR/$1/control"
  chmod +x "$SERVICES_DIR/$1/control"
}

start_rabbitmq() {
  mkdir -p "$SERVICES_DIR/rabbitmq"
  control rabbitmq "$ROOT/tests/services/rabbitmq/node"
  "$SERVICES_DIR/rabbitmq/control" start
}

start_cassandra() {
  mkdir -p "$SERVICES_DIR/cassandra"
  control cassandra "$ROOT/tests/services/cassandra/node"
  CASSANDRA_PASSWORDS=yes CASSANDRA_JAVA=$(find_java) "$SERVICES_DIR/cassandra/control" start
}

# services: sets SERVICES_READY and CONTROLS_READY, and exports what tests connect to.
services() {
  if [ "${WITH_SERVICES:-yes}" = no ]; then
    note "services: left out; the tests that need RabbitMQ or Cassandra count as skipped"
    return
  fi
  if [ -n "${KINDRED_TEST_AMQP_URL:-}" ] && [ -z "${KINDRED_TEST_AMQP_MANAGEMENT:-}" ]; then
    note "services: KINDRED_TEST_AMQP_URL also needs KINDRED_TEST_AMQP_MANAGEMENT, such as http://user:password@host:15672; the tests that need them count as skipped"
    return
  fi
  SERVICES_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kindred-services.XXXXXX") || return
  at_end stop_services
  local own_broker=no own_database=no
  if [ -z "${KINDRED_TEST_AMQP_URL:-}" ]; then
    if ! run_logged "RabbitMQ, installed" install_rabbitmq ||
      ! run_logged "RabbitMQ, started" start_rabbitmq; then
      note "services: no RabbitMQ; the tests that need it count as skipped"
      return
    fi
    own_broker=yes
    export_broker
  fi
  if [ -z "${KINDRED_TEST_CQL_NODES:-}" ]; then
    if ! run_logged "Cassandra, installed" install_cassandra ||
      ! run_logged "Cassandra, started" start_cassandra; then
      note "services: no Cassandra; the tests that need it count as skipped"
      return
    fi
    own_database=yes
    export_database
  fi
  SERVICES_READY=yes
  if run_logged "pika" install_pika; then
    PIKA_READY=yes
    export KINDRED_TEST_PYTHON=$ROOT/target/pika/bin/python
  fi
  if [ "$own_broker$own_database" = yesyes ]; then
    CONTROLS_READY=yes
  else
    note "services: given ones are not killed; the tests that do that count as skipped"
  fi
}

export_broker() {
  local AMQP MANAGEMENT
  # shellcheck source=/dev/null
  source "$SERVICES_DIR/rabbitmq/ports"
  export KINDRED_TEST_AMQP_URL=amqp://tests:tests@127.0.0.1:$AMQP/%2f
  export KINDRED_TEST_AMQP_MANAGEMENT=http://tests:tests@127.0.0.1:$MANAGEMENT
  export KINDRED_TEST_BROKER_CONTROL=$SERVICES_DIR/rabbitmq/control
}

export_database() {
  local CQL
  # shellcheck source=/dev/null
  source "$SERVICES_DIR/cassandra/ports"
  export KINDRED_TEST_CQL_NODES=127.0.0.1:$CQL
  export KINDRED_TEST_CQL_USER=cassandra KINDRED_TEST_CQL_PASSWORD=cassandra
  export KINDRED_TEST_DATABASE_CONTROL=$SERVICES_DIR/cassandra/control
}

# By process id, whatever state they are in; keeps their logs.
stop_services() {
  local service
  [ -n "$SERVICES_DIR" ] || return 0
  for service in rabbitmq cassandra; do
    [ -x "$SERVICES_DIR/$service/control" ] || continue
    "$SERVICES_DIR/$service/control" end
  done
  mkdir -p "$LOGS/services"
  cp -f "$SERVICES_DIR"/rabbitmq/log/* "$SERVICES_DIR"/cassandra/out.log "$LOGS/services/" 2>/dev/null
  rm -rf "$SERVICES_DIR"
  SERVICES_DIR=
}

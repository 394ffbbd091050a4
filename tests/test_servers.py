from tests.servers import Server, http_get, port_answers


def test_mosquitto_answers_on_its_port(mosquitto: Server) -> None:
    assert port_answers(mosquitto.port)


def test_victoria_metrics_says_it_is_well(victoria_metrics: Server) -> None:
    assert http_get(victoria_metrics.port, "/health") == b"OK"

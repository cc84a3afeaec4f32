"""The order book: given these events of orders, these rows; twice, out of order, and rebuilt."""

import pytest

import events
from events.orders import LineAdded, LineRemoved, OrderCancelled, OrderEvent, OrderLine, OrderPaid, OrderPlaced, OrderShipped, order_stream
from projections.order_book.projection import LINES, ORDERS, REVENUE, STEPS, LineRow, OrderBook, OrderRow, Revenue
from sidestream.testing import Happened, ProjectionSpecification, happened

TEA, POT = OrderLine(1, "tea", 3, 450), OrderLine(2, "pot", 1, 2500)
BOOK = ProjectionSpecification(OrderBook(), events.registry())


def of(order: str, *happenings: OrderEvent) -> list[Happened]:
    return [happened(each, subject=order_stream(order)) for each in happenings]


def paid(amount: int, at: str = "2026-11-21T09:30:00Z", currency: str = "EUR") -> OrderPaid:
    return OrderPaid(amount, currency, "pay", at)


def placed(*lines: OrderLine, currency: str = "EUR") -> OrderPlaced:
    return OrderPlaced("ada", currency, lines)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_an_order_is_what_its_events_made_of_it(times: int, seed: int | None) -> None:
    history = of("a", placed(TEA), LineAdded(POT), LineRemoved(1), paid(2500), OrderShipped("post", "1"))
    book = BOOK.when(*history, *of("b", placed())).delivered(times=times)
    book = book if seed is None else book.shuffled(seed)

    rows = {row.order: row for row in book.rows(ORDERS)}
    assert (rows["a"].state, rows["a"].lines, rows["a"].total_minor, rows["a"].paid_minor) == ("shipped", 1, 2500, 2500)
    assert (rows["a"].version, rows["a"].paid_on) == (5, "2026-11-21")
    assert (rows["b"].state, rows["b"].version, rows["b"].placed_at) == ("open", 1, rows["b"].changed_at)
    assert book.rows(LINES) == [LineRow("a", 2, "pot", 1, 2500)]
    assert book.rows(REVENUE) == [Revenue("2026-11-21", "EUR", 1, 2500)]


def test_a_row_is_exactly_this() -> None:
    row = OrderRow("a", "open", "ada", "EUR", 1, 1350, 0, "2026-01-01T00:00:01.000000Z", "2026-01-01T00:00:01.000000Z", "", 1)
    BOOK.when(*of("a", placed(TEA))).then_in(ORDERS, row)


def test_revenue_is_per_day_and_currency() -> None:
    BOOK.when(
        *of("a", placed(TEA), paid(1350)),
        *of("b", placed(POT), paid(2500, "2026-11-21T23:59:59.999999Z")),
        *of("c", placed(POT), paid(2500, "2026-11-22T00:00:00Z")),
        *of("d", placed(POT, currency="USD"), paid(2500, currency="USD")),
    ).delivered(times=2).shuffled(4).then_in(
        REVENUE,
        Revenue("2026-11-21", "EUR", 2, 3850),
        Revenue("2026-11-21", "USD", 1, 2500),
        Revenue("2026-11-22", "EUR", 1, 2500),
    )


def test_the_day_is_the_one_in_utc() -> None:
    BOOK.when(*of("a", placed(TEA), paid(1350, "2026-11-21T23:30:00-01:00"))).then_in(REVENUE, Revenue("2026-11-22", "EUR", 1, 1350))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_cancelled_after_the_payment_is_taken_off_the_day_of_the_payment(seed: int) -> None:
    history = (
        *of("a", placed(TEA), paid(1350), OrderCancelled("broken")),
        *of("b", placed(POT), paid(2500), OrderCancelled("lost")),
        *of("c", placed(POT, TEA), paid(3850, "2026-11-20T00:00:00Z"), OrderCancelled("late")),
        *of("d", placed(TEA), paid(1350, "2026-11-20T00:00:00Z")),
        *of("e", placed(TEA), OrderCancelled("before")),
    )
    BOOK.when(*history).delivered(times=2).shuffled(seed).then_in(REVENUE, Revenue("2026-11-20", "EUR", 1, 1350))


def test_the_history_holds_every_event_in_order_with_what_it_said() -> None:
    steps = BOOK.when(*of("a", placed(TEA), paid(1350), OrderShipped("post", "1"))).delivered(times=3).shuffled(2).rows(STEPS)

    assert [(step.version, step.type) for step in steps] == [(1, "order.placed"), (2, "order.paid"), (3, "order.shipped")]
    assert steps[2].data == '{"carrier":"post","tracking":"1"}'


@pytest.mark.parametrize("at", ["yesterday", "2026-11-21", "2026-11-21T09:30:00", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", ""])
def test_a_payment_at_no_time_is_parked_and_its_order_waits_behind_it(at: str) -> None:
    history = (*of("a", placed(TEA), paid(1350, at), OrderShipped("post", "1")), *of("b", placed(TEA), paid(1350)))
    BOOK.when(*history).then_parked("e-002", "e-003")


def test_an_event_of_an_order_that_was_never_placed_is_parked() -> None:
    BOOK.when(*of("a", LineAdded(POT)), *of("b", placed(TEA))).then_parked("e-001")


def test_a_line_that_is_not_there_is_parked() -> None:
    BOOK.when(*of("a", placed(TEA), LineRemoved(2))).then_parked("e-002")

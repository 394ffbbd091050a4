"""What is known of one command's effect: how its device was before it, and what it has shown since."""

from __future__ import annotations

from collections.abc import Mapping

from hub.clock import Clock
from hub.command import Hazard, Repeat, State, is_seen
from hub.commands import Before, OpenCommand
from hub.commands.order import canonical
from hub.dispatch.lane import Lane
from hub.dispatch.last_words import LastWords
from hub.points import Scalar
from hub.rise import ALIVE_S, Rise, Told, risen, used_most_wh, weigh

ALREADY_SO = "it was already so"
NO_ANSWER = "it never answered: somebody else may have done what is seen"
NO_CHANGE = "it was not seen otherwise before: nothing shows that this command did it"
STANDS_STILL = "what it shows stands still, and proves nothing"
_MARGIN = 1.2  # over rated power, because meters round and clocks drift


class Proof:
    """Judges by what the lane's watch has heard."""

    def __init__(
        self, *, command: OpenCommand, lane: Lane, last_words: LastWords, clock: Clock
    ) -> None:
        self._command = command
        self._lane = lane
        self._last_words = last_words
        self._clock = clock

    def before(self, arguments: Mapping[str, Scalar]) -> Before:
        """How the device is now, by its last word."""
        command = self._command
        told = is_seen(command.spec.confirm, self._last_words.of(command.device), arguments)
        return Before.UNSEEN if told is None else Before.SO if told else Before.OTHERWISE

    def is_alive(self) -> bool:
        """Whether what the device shows is of now, as far as its product lets that be seen."""
        rise = self._command.spec.rise
        if rise is None or not rise.alive:
            return True
        changed_s = self._last_words.changed_s(self._command.device, rise.alive)
        return changed_s is not None and self._clock.monotonic_s() - changed_s <= ALIVE_S

    def shown(self) -> bool | None:
        """Whether the device shows that it is done.

        A state proves itself, whoever brought it about. What must not happen twice is proved by a change:
        the device must have been seen otherwise, before the send or after it. And while no answer came,
        it is proved only by a point that names the command: somebody else may have opened, or bought.
        """
        command = self._command
        if command.spec.rise:
            shown = self._weighed(command.spec.rise).shown
            return None if shown is False and not self.is_alive() else shown
        shown = self._is_seen()
        if shown is False:
            command.was_otherwise = True
        return None if shown and self._proves_nothing() else shown

    def objection(self) -> str:
        """Why what is seen proves nothing, however long it is looked at; empty when it may yet prove it."""
        rise = self._command.spec.rise
        if rise:
            return self._weighed(rise).contradiction
        return self._proves_nothing() if self._is_seen() else ""

    def doubt(self) -> str:
        """Why the last look told nothing; empty when there is no more to say."""
        rise = self._command.spec.rise
        undone = rise is not None and self._weighed(rise).shown is False
        return self.objection() or (STANDS_STILL if undone and not self.is_alive() else "")

    def remark(self) -> str:
        """What is to be said beside a proof."""
        return ALREADY_SO if self._command.before is Before.SO else ""

    def words(self) -> str:
        """What was said of the points that prove it, as JSON."""
        values = self._lane.watch.values
        return canonical({name: values[name] for name in self._command.spec.proofs & {*values}})

    def _is_seen(self) -> bool | None:
        command = self._command
        return is_seen(command.spec.confirm, self._lane.watch.values, command.record.arguments)

    def _proves_nothing(self) -> str:
        """Why the state that was wished for proves nothing of this command; empty when it does."""
        command, spec = self._command, self._command.spec
        if spec.repeat is Repeat.NEVER and not command.was_otherwise:
            return NO_CHANGE
        is_once = spec.repeat is Repeat.NEVER or spec.hazard is Hazard.CREDIT
        is_answered = command.life.state is State.ACKNOWLEDGED
        return NO_ANSWER if is_once and not is_answered and not spec.is_named else ""

    def _weighed(self, rise: Rise) -> Told:
        """What count and balance say together by now."""
        values, arguments = self._lane.watch.values, self._command.record.arguments
        profile, count = self._command.device.profile, self._command.spec.count
        if count is None or rise.balance not in arguments:
            return Told()
        counted = values.get(count.from_point)
        before = int(arguments[count.name]) - count.plus
        steps = None if counted is None else int(counted) - before
        elapsed_s = max(0.0, self._clock.monotonic_s() - self._command.compared_s)
        flowed_wh = profile.rated_power_w * _MARGIN * elapsed_s / 3600
        step_wh = float(profile.points[rise.counter].factor) if rise.counter else 0.0
        used_wh = used_most_wh(rise, values, arguments, flowed_wh=flowed_wh, step_wh=step_wh)
        return weigh(steps, risen(rise, values, arguments, used_wh))

"""The measurement of the side channel: its parts. Its result is up to `make sidechannel`."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.wire.shaping import UNIT
from sidechannel.classify import Verdict, standard_error
from sidechannel.features import NAMES, features
from sidechannel.model import TICK, TOPICS
from sidechannel.observe import RECORD, Sample
from sidechannel.picture import picture


class MeasureTests(SynchronousTestCase):
    """The classifier's input and output."""

    def test_features(self) -> None:
        """The features are sizes, gaps, counts and durations of the pieces of a reply."""
        found = dict(zip(NAMES, features([(0.5, 532), (0.6, 532), (0.8, 1064)]), strict=True))
        self.assertEqual((found["pieces"], found["bytes"], found["first"]), (3, 2128, 0.5))
        self.assertAlmostEqual(found["duration"], 0.3)
        self.assertAlmostEqual(found["gap min"], 0.1)
        self.assertAlmostEqual(found["gap max"], 0.2)
        self.assertEqual((found["size min"], found["size max"]), (532, 1064))
        self.assertEqual(len(features([(0.1, 532)])), len(NAMES))

    def test_topics(self) -> None:
        """The topics differ, a reply is reproducible, and every reply ends well within the shortest train."""
        letters = {}
        for name, topic in TOPICS.items():
            replies = [topic.reply(number) for number in range(1000)]
            self.assertEqual(replies[7], topic.reply(7))
            self.assertLess(max(sum(pause for pause, _word in reply) for reply in replies), 0.9 * UNIT * TICK)
            letters[name] = sum(len(word) for reply in replies for _pause, word in reply) / 1000
        least, most = sorted(letters.values())
        self.assertGreater(most, 1.1 * least)

    def test_records(self) -> None:
        """The number of records of a sample follows from its bytes."""
        self.assertEqual(Sample("weather", 0, [(0.1, RECORD), (0.2, 2 * RECORD)]).records, 3)

    def test_standardError(self) -> None:
        """At one half it equals that of the Mann-Whitney statistic; fewer replies make it larger."""
        self.assertAlmostEqual(standard_error(0.5, 100, 100), (201 / (12 * 100 * 100)) ** 0.5)
        self.assertGreater(standard_error(0.5, 10, 10), standard_error(0.5, 100, 100))

    def test_chance(self) -> None:
        """A result counts as chance if it is near one half and within the range of permuted labels."""
        for auc, is_chance in ((0.5, True), (0.52, True), (0.54, False), (0.7, False), (0.3, False)):
            self.assertIs(Verdict(auc, 0.02, (0.47, 0.53), []).is_chance, is_chance)

    def test_picture(self) -> None:
        """The plot has a curve from corner to corner, with its name."""
        self.assertIn("M50.0 370.0L370.0 50.0", picture({"a & b": [(0.0, 0.0), (1.0, 1.0)]}))
        self.assertIn("a &amp; b", picture({"a & b": [(0.0, 0.0)]}))

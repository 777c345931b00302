"""The visible part of a model's text."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.visible_text import VisibleText


class VisibleTextTests(SynchronousTestCase):
    """The visible part of a model's text."""

    def show(self, *pieces: str) -> str:
        visible = VisibleText()
        return "".join(map(visible.feed, pieces)) + visible.end()

    def test_reasoning(self) -> None:
        """Reasoning at the beginning is removed, however it is split; later tags are text."""
        for text, seen in (
            ("<think>a</think>b", "b"),
            (" \n<think></think>\n\n<think>x</thin</think> b </think>", "b </think>"),
            ("a <think>b</think>", "a <think>b</think>"),
            ("<thin", "<thin"),
            ("<thing>", "<thing>"),
            ("<think>a", ""),
            ("<think>a</think", ""),
            ("<think>a\ud83d", ""),
            ("", ""),
            ("  hello ", "hello "),
        ):
            self.assertEqual(self.show(text), seen, ascii(text))
            self.assertEqual(self.show(*text), seen, ascii(text))

    def test_families(self) -> None:
        """The marks of each family of models are known, in any case, and those around the reply after reasoning."""
        for text in (
            "<thinking>a</thinking>b",
            "<Think>a</tHINK>b",
            "<thought>a</thought>b",
            "<reasoning>a</reasoning>\n\nb",
            "[THINK]a[/THINK]b",
            "<seed:think>a</seed:think>b",
            "◁think▷a◁/think▷b",
            "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>\nb<|end_of_solution|>",
            "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>",
            "<think>a</think>\n<answer>\nb</answer>",
            "<|inner_prefix|>a<|inner_suffix|>b",
            "<|channel>thought\na<channel|>b",
            "analysisWe think.assistantfinalb",
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
            "<|start|>assistant<|channel|>analysis<|message|>a<|channel|>final<|message|>b",
            "<|channel|>commentary to=functions.x <|constrain|>json<|message|>{}<|call|>"
            "<|start|>assistant<|channel|>final<|message|>b",
            "<|start|>assistant<|message|>b<|end|>",
        ):
            self.assertEqual(self.show(text), "b", text)
            self.assertEqual(self.show(*text), "b", text)

    def test_others(self) -> None:
        """Text that only resembles the marks is shown, as are the marks of replies without reasoning."""
        for text in (
            "<answer>b</answer>",
            "<thinker>",
            "[think",
            "analysis of a text: assistantfinal",
            "analysis",
            "an",
            "<|chan",
            "<details>",
            "İ<think>",
        ):
            self.assertEqual(self.show(text), text)
            self.assertEqual(self.show(*text), text)
        text = "<think>a</think><answer>1 < 2 </b> </answe"
        self.assertEqual((self.show(text), self.show(*text)), ("1 < 2 </b> </answe",) * 2)
        text = "<|channel|>final<|message|>a <| b <|x|> <|ret"
        self.assertEqual((self.show(text), self.show(*text)), ("a <| b <|x|> <|ret",) * 2)

    def test_onlyReasoning(self) -> None:
        """It is known whether there was reasoning."""
        for text, expected in (("a", False), ("<think>a", True), ("<|channel|>analysis<|message|>a", True)):
            visible = VisibleText()
            visible.feed(text)
            self.assertEqual(visible.has_reasoning, expected)

    def test_notHeldBack(self) -> None:
        """After the beginning, no text is held back."""
        visible = VisibleText()
        self.assertEqual([visible.feed(piece) for piece in ("<", "b", "<think>")], ["", "<b", "<think>"])

    def test_surrogates(self) -> None:
        """The halves of surrogate pairs are joined; single halves are replaced."""
        self.assertEqual(self.show("a\ud83d", "\ude00b"), "a😀b")
        self.assertEqual(self.show("\ud83d", "", "\ude00"), "😀")
        self.assertEqual(
            self.show("a\ud83d", "b\ude00", "\ud83d\ud83d", "\ude00c\ud83d"), "a\ufffdb\ufffd\ufffd😀c\ufffd"
        )
